"""The first seconds after a restart: how long until every key in use has been answered."""

import os
import shutil
import time

from . import fixtures, process_usage
from .columns import Column, number
from .peers import Portcullis
from .peers.base import PATH

CONNECTIONS = 32
SECONDS = Column("seconds", "until all are answered 200", lambda value: f"{number(value)} s")
CPU_SECONDS = Column("cpu_seconds", "CPU", lambda value: f"{number(value)} s")
P99 = Column("p99_ms", "p99", lambda value: f"{number(value)} ms")
LISTENING = Column("ready_seconds", "start to ready", lambda value: f"{number(value)} s")
COLUMNS = (SECONDS, CPU_SECONDS, P99, LISTENING)

KNOWN = f"{fixtures.KEYS:,} of 1,000,000 keys, with the pepper"
COLD = f"{fixtures.COLD_KEYS} of {fixtures.COLD_KEYS} keys, without one"
FEWER = fixtures.KEYS // fixtures.COLD_KEYS
WHOLE = f"the same for {fixtures.KEYS:,} keys (x {FEWER}, reckoned)"


def measure(bench, scenario, say):
    """A new process each round. Without its pepper, a store gives every key one argon2id run."""
    samples = {KNOWN: [], COLD: [], WHOLE: []}
    for number_ in range(bench.options.rounds):
        say(f"{scenario.name}: round {number_ + 1}, with the pepper")
        samples[KNOWN].append(_sample(bench, scenario, fixtures.store(bench.programs, 1_000_000), {}))
        say(f"{scenario.name}: round {number_ + 1}, without a pepper")
        pepper = bench.folder / "other.pepper"
        pepper.write_text(os.urandom(32).hex())
        pepper.chmod(0o600)
        cold = _sample(bench, scenario, fixtures.cold_store(bench.programs), {"pepper": pepper})
        samples[COLD].append(cold)
        samples[WHOLE].append({key: cold[key] * FEWER for key in ("seconds", "cpu_seconds")})
    return samples


def _sample(bench, scenario, known, settings):
    folder = bench.folder / scenario.name
    folder.mkdir()
    began = time.monotonic()
    try:
        setup = bench.setup_with_store(folder, known, settings)
        headers = [pair.header() for pair in setup.pairs]
        began = time.monotonic()
        running = Portcullis("portcullis", "argon2id").start(setup)
        try:
            ready = time.monotonic() - began
            before = process_usage.cpu_seconds(running.pid)
            counted = bench.client.once(running.http, PATH, headers, CONNECTIONS)
            used = process_usage.cpu_seconds(running.pid) - before
        finally:
            running.child.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {
        "seconds": counted.seconds,
        "cpu_seconds": used,
        "p99_ms": counted.p99,
        "ready_seconds": ready,
    }
