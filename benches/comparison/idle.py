"""Memory of idle connections: what each of ten thousand costs after one request."""

import shutil
import time

from . import process_usage
from .columns import Column, MEMORY
from .peers import PEERS
from .peers.base import PATH
from .rounds import expect, names_of

CONNECTIONS = 10_000
TLS_CONNECTIONS = 2_000  # a handshake takes the client a while
QUICK_DIVISOR = 10  # of a run that only shows that it works
MOST_ROUNDS = 3  # memory does not vary as time does
SETTLE_SECONDS = 0.5  # Caddy's and Envoy's threads put things away

CONNECTION = Column("connection_bytes", "memory a connection", lambda value: f"{value / 1024:.2f} KiB")
COLUMNS = (CONNECTION, MEMORY)


def measure(connections, secure):
    """A scenario's `measure`. Every round has new processes: what was once taken is seldom given back."""

    def run(bench, scenario, say):
        held = connections // (QUICK_DIVISOR if bench.options.quick else 1)
        samples = {name: [] for name in names_of(bench, scenario)}
        for number in range(min(bench.options.rounds, MOST_ROUNDS)):
            for name, found in samples.items():
                say(f"{scenario.name}: round {number + 1}, {name}")
                folder = bench.folder / scenario.name
                folder.mkdir()
                try:
                    found.append(_sample(bench, scenario, folder, PEERS[name], held, secure))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
        return samples

    return run


def _sample(bench, scenario, folder, peer, connections, secure):
    setup = bench.setup(folder, scenario.keys, scenario.stored)
    running = peer.start(setup)
    try:
        header = setup.pairs[0].header()
        expect(running, header, 200)
        before = process_usage.resident_bytes(running.pid)
        port, certificate = (running.https, setup.certificate) if secure else (running.http, None)
        with bench.client.idle(port, PATH, header, connections, certificate):
            time.sleep(SETTLE_SECONDS)
            after = process_usage.resident_bytes(running.pid)
    finally:
        running.child.stop()
    return {"connection_bytes": (after - before) / connections, "memory_bytes": after}
