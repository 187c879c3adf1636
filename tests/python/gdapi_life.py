"""The whole life of an API key by Rancher's own Python client, for a test to compare.

    gdapi_life.py URL ACCESS_KEY SECRET_KEY [WRONG_SECRET]

URL is where the client connects, such as http://127.0.0.1:8081/v2-beta or …/v2-beta/projects/e1. Prints one JSON
document a line: {"step": …} with what the client saw. A step that raises prints the error and the life goes on.
"""

import json
import sys

import gdapi


def plain(value):
    """What the client made of an answer, as JSON has it: without the methods that it binds to objects."""
    if isinstance(value, gdapi.RestObject):
        return {name: plain(item) for name, item in vars(value).items() if not callable(item)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def key(answer):
    """The fields of a key that a test compares."""
    if answer is None:
        return None
    seen = plain(answer)
    fields = ("type", "id", "name", "description", "state", "transitioning", "accountId", "publicValue", "secretValue")
    return {
        **{field: seen.get(field) for field in fields},
        "actions": sorted(seen.get("actions", {})),
        "links": sorted(seen.get("links", {})),
    }


def step(name, act):
    """Does one step, prints what was seen, and gives the client's own object."""
    answer = None
    try:
        answer = act()
        seen = answer if isinstance(answer, dict) else {"key": key(answer)}
    except gdapi.ApiError as error:
        refusal = plain(error.error)
        seen = {"error": {field: refusal.get(field) for field in ("type", "status", "code", "fieldName")}}
    except Exception as error:  # what the client itself could not do with an answer is for the test to see
        seen = {"failure": f"{type(error).__name__}: {error}"}
    print(json.dumps({"step": name, **seen}), flush=True)
    return answer


def life(url, access_key, secret_key):
    client = None

    def connect():
        nonlocal client
        client = gdapi.Client(url=url, access_key=access_key, secret_key=secret_key)
        types = client.schema.types
        return {"types": sorted(types), "creatable": types["apiKey"].creatable}

    if step("connect", connect) is None:
        return
    made = step("create", lambda: client.create_apiKey(name="gdapi", description="made by gdapi-python"))
    if made is None:
        return
    collection = {"name": "gdapi", "state": "active"}
    step("list", lambda: {"keys": [key(one) for one in client.list_apiKey(**collection)]})
    step("list none", lambda: {"keys": [key(one) for one in client.list_api_key(name="no such name")]})
    step("by id", lambda: client.by_id_apiKey(made.id))
    step("reload", lambda: client.reload(made))
    step("update", lambda: client.update(made, name="gdapi renamed"))
    step("update by id", lambda: client.update_by_id_apiKey(made.id, description="by id"))
    step("delete active", lambda: client.delete(client.by_id_apiKey(made.id)))
    step("deactivate", lambda: client.by_id_apiKey(made.id).deactivate())
    step("deactivate again", lambda: client.action(client.by_id_apiKey(made.id), "deactivate"))
    step("activate", lambda: client.by_id_apiKey(made.id).activate())
    step("deactivate by name", lambda: client.action(client.by_id_apiKey(made.id), "deactivate"))
    step("account", lambda: {"type": client.by_id_apiKey(made.id).account().type})
    step("delete", lambda: client.delete(client.by_id_apiKey(made.id)))
    step("by id afterwards", lambda: client.by_id_apiKey(made.id))
    step("by id unknown", lambda: client.by_id_apiKey("1c999999"))
    step("list afterwards", lambda: {"keys": [key(one) for one in client.list_apiKey(id=made.id)]})


def main(url, access_key, secret_key, wrong_secret="wrong"):
    def refused():
        gdapi.Client(url=url, access_key=access_key, secret_key=wrong_secret)

    life(url, access_key, secret_key)
    step("wrong key", refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
