"""Reads a dashboard by Grafana's own schema, and prints what the schema does not know or reads otherwise."""

import json
import sys

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(ours, theirs, place):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name, value in ours.items():
            if name in theirs:
                yield from differences(value, theirs[name], f"{place}.{name}")
            else:
                yield f"{place}.{name}: unknown"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for at, (one, other) in enumerate(zip(ours, theirs)):
            yield from differences(one, other, f"{place}[{at}]")
    elif ours != theirs:
        yield f"{place}: {ours!r} is read as {theirs!r}"


plugins.register_default_plugins()
with open(sys.argv[1], encoding="utf-8") as file:
    ours = json.load(file)
theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
found = list(differences(ours, theirs, "dashboard"))
print("\n".join(found))
sys.exit(1 if found else 0)
