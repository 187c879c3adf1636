"""Portcullis, with everything on that users have on."""

import http.client
import shutil
import time

from ..machine import Failure
from ..child_processes import free_port
from ..fixtures import admin_pair
from .base import BODY_MIB, KEPT_CONNECTIONS, Peer

# Limits, timeouts and counters have their defaults, but those that a load from one address would meet: it comes from
# far more connections, requests and wrong secrets than one client's are.
CONFIGURATION = """\
listeners:
  - address: 127.0.0.1:{http}
  - address: 127.0.0.1:{https}
    tls:
      certificates:
        - {{ certificate: {certificate}, key: {key} }}
management:
  address: 127.0.0.1:{management}
workers: {workers}
store:
  sqlite: {store_folder}/portcullis.db
pepper_file: {pepper}
allow_missing_pepper: {allow_missing_pepper}
upstreams:
  api:
    endpoints: ["http://127.0.0.1:{upstream}"]
    idle_connections: {kept}
routes:
{routes}
limits:
  connections_per_source: 20000
  requests_per_connection: 1000000000
  body_bytes: {body}MiB
throttle:
  failures: 65000
  window: 100ms
log:
  access: {{ file: {folder}/access.log }}
"""

ROUTE = """\
  - path: /{prefix}
    upstream: api
    environment: "/{prefix}/projects/{{environment}}"
"""

# The stores below this size are copied for every run; the largest is used where it lies.
COPIED_BYTES = 64 << 20

READY_SECONDS = 60


class Portcullis(Peer):
    """Settings of a scenario: `workers`, `routes`, `pepper` (a file of its own, in place of the store's)."""

    def command(self, setup, running):
        store_folder, settings = setup.store_folder, setup.settings
        if (store_folder / "portcullis.db").stat().st_size < COPIED_BYTES:
            store_folder = shutil.copytree(store_folder, running.folder / "store")
        running.management = free_port()
        running.admin = admin_pair(setup.store_folder)
        # v1 is the one that is asked for; the others lie beside it
        prefixes = ["v1"] + [f"w{number}" for number in range(1, settings.get("routes", 1))]
        file = running.folder / "portcullis.yaml"
        file.write_text(
            CONFIGURATION.format(
                http=running.http,
                https=running.https,
                management=running.management,
                certificate=setup.certificate,
                key=setup.key,
                workers=settings.get("workers", 1),
                store_folder=store_folder,
                pepper=settings.get("pepper", store_folder / "portcullis.pepper"),
                allow_missing_pepper="true" if "pepper" in settings else "false",
                upstream=setup.upstream,
                kept=KEPT_CONNECTIONS,
                routes="".join(ROUTE.format(prefix=prefix) for prefix in prefixes).rstrip(),
                body=BODY_MIB,
                folder=running.folder,
            )
        )
        return [setup.portcullis, "serve", "--config", file]



    def wait_until_ready(self, running):
        """It listens before it may serve keys."""
        end = time.monotonic() + READY_SECONDS
        while ask(running.management, "/readyz")[0] != 200:
            if time.monotonic() > end:
                raise Failure(f"{self.name} does not become ready:\n{running.child.tail()}")
            time.sleep(0.01)


def ask(port, path, headers=None):
    """Status and text of an answer of the management listener."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def metric(running, name):
    """The sum of a metric over its labels."""
    status, text = ask(running.management, "/metrics", {"Authorization": running.admin.header()})
    found = [line.split() for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    if status != 200 or not found:
        raise Failure(f"/metrics answers {status}, without {name}")
    return sum(float(words[-1]) for words in found)
