"""Load at a fixed rate below saturation: the latency that a gateway adds, alone and during a flood."""

from contextlib import ExitStack

from . import process_usage
from .columns import CPU, Column, P99, number
from .peers.base import PATH
from .rounds import expect, started, taking_turns
from .load_scenarios import wrong_secret

# Each connection of h2load sends at its own even pace.
CONNECTIONS = 20
RATE = 100  # requests a second on each
FLOOD_CONNECTIONS = 100
FLOOD_LEAD_SECONDS = 1  # the flood is there before the good traffic, and goes on after it

ADDED_P50 = Column("added_p50_ms", "p50 added", lambda value: f"{number(value)} ms")
ADDED_P99 = Column("added_p99_ms", "p99 added", lambda value: f"{number(value)} ms")
ADDED_COLUMNS = (ADDED_P50, ADDED_P99, CPU)

QUIET_P99 = Column("quiet_p99_ms", "p99 without", lambda value: f"{number(value)} ms")
FLOOD_RATE = Column("flood_rate", "flood answered/s", lambda value: f"{value:,.0f}", compares=False)
FLOOD_COLUMNS = (P99, QUIET_P99, FLOOD_RATE)


def added(bench, scenario, say):
    """Each peer's times less those of the upstream itself, asked directly in the same round."""
    direct = {}

    def sample(round_number, running, pairs):
        header = pairs[0].header()
        if round_number not in direct:
            url = f"http://127.0.0.1:{bench.upstream}{PATH}"
            direct[round_number] = _good(bench, url, header)
        before = process_usage.cpu_seconds(running.pid)
        counted = _good(bench, running.url(), header)
        return {
            "added_p50_ms": counted.p50 - direct[round_number].p50,
            "added_p99_ms": counted.p99 - direct[round_number].p99,
            "cpu_us": (process_usage.cpu_seconds(running.pid) - before) * 1e6 / counted.requests,
            "rate": counted.requests / counted.seconds,
        }

    return _rounds(bench, scenario, say, sample)


def flood(bench, scenario, say):
    """Good traffic's times without and with 10,000 wrong secrets a second beside it."""

    def sample(_round_number, running, pairs):
        header = pairs[0].header()
        quiet = _good(bench, running.url(), header)
        refuses = running.peer.authentication is not None
        wrong = wrong_secret(pairs) if refuses else header
        # Caddy takes a second for the first, and for each that comes until it knows
        expect(running, wrong, 401 if refuses else 200)
        seconds = bench.options.seconds + 2 * FLOOD_LEAD_SECONDS
        with bench.h2load.beside(
            running.url(),
            wrong,
            seconds,
            FLOOD_LEAD_SECONDS,
            expected=401 if refuses else 200,
            connections=FLOOD_CONNECTIONS,
            rate=RATE,
        ) as flooding:
            counted = _good(bench, running.url(), header)
        return {
            "p99_ms": counted.p99,
            "quiet_p99_ms": quiet.p99,
            "flood_rate": flooding.counted.requests / flooding.counted.seconds,
        }

    return _rounds(bench, scenario, say, sample)


def _good(bench, url, header):
    return bench.h2load.run(url, header, bench.options.seconds, connections=CONNECTIONS, rate=RATE)


def _rounds(bench, scenario, say, sample):
    with ExitStack() as stack:
        peers, setup = started(stack, bench, scenario, say)
        samples = {name: [] for name in peers}
        for round_number, name, running in taking_turns(bench, scenario, peers, say):
            if round_number < 0:
                bench.wrk.run(running.url(), [setup.pairs[0].header()], 1)
            else:
                samples[name].append(sample(round_number, running, setup.pairs))
        return samples
