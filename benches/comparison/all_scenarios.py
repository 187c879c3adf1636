"""All scenarios, in the order in which they run and are shown."""

from . import fixed_rate, idle, restart, scaling
from .peers import BASELINE
from .scenario import Scenario
from .load_scenarios import LOADS, PLAIN, SECURE, THROTTLE_NOTE

ALL_CORES_NOTE = "Not pinned: Portcullis, load and upstream share all cores."

OTHERS = [
    Scenario(
        "idle",
        f"{idle.CONNECTIONS:,} idle connections after one request each",
        tuple(name for name in PLAIN if name != "floor"),
        columns=idle.COLUMNS,
        measure=idle.measure(idle.CONNECTIONS, secure=False),
        notes="Resident memory of the processes. What the kernel keeps for a socket is not in it.",
    ),
    Scenario(
        "idle-tls",
        f"{idle.TLS_CONNECTIONS:,} idle TLS connections after one request each",
        SECURE,
        columns=idle.COLUMNS,
        measure=idle.measure(idle.TLS_CONNECTIONS, secure=True),
    ),
    Scenario(
        "flood",
        "good traffic (2,000/s) beside 10,000 wrong secrets a second",
        (BASELINE, "nginx-sha1", "haproxy-plain", "envoy-sha1", "caddy-bcrypt", "portcullis"),
        columns=fixed_rate.FLOOD_COLUMNS,
        measure=fixed_rate.flood,
        notes=THROTTLE_NOTE,
    ),
    Scenario(
        "added",
        "time added to a request at 2,000 requests a second",
        PLAIN,
        columns=fixed_rate.ADDED_COLUMNS,
        measure=fixed_rate.added,
        notes="Less the time of the upstream itself, asked directly in the same round.",
    ),
    Scenario(
        "restart",
        "the first request of every key after a restart, over 32 connections",
        columns=restart.COLUMNS,
        baseline=None,
        measure=restart.measure,
    ),
]

SCALING = [
    Scenario(
        "workers",
        "Portcullis with one and two workers",
        columns=scaling.COLUMNS,
        baseline="1 worker",
        measure=scaling.workers,
        notes=ALL_CORES_NOTE,
    ),
    Scenario(
        "stored",
        "Portcullis, 10 keys in turn out of so many stored",
        columns=scaling.COLUMNS,
        baseline="10 keys",
        measure=scaling.stored,
    ),
    Scenario(
        "routes",
        "Portcullis with so many routes",
        columns=scaling.COLUMNS,
        baseline="1 route",
        measure=scaling.routes,
    ),
    Scenario(
        "connections",
        "Portcullis with so many connections, all of them busy",
        columns=scaling.CONNECTION_COLUMNS,
        baseline="10 connections",
        measure=scaling.connections,
    ),
    Scenario(
        "spread",
        "Portcullis, how connections spread over two workers (50%: evenly)",
        columns=scaling.SPREAD_COLUMNS,
        baseline=None,
        measure=scaling.spread,
        notes=ALL_CORES_NOTE,
    ),
]

SCENARIOS = [*LOADS, *OTHERS, *SCALING]
