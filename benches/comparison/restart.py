"""The first seconds after a restart: how long until every key that is in use has been answered."""

import os
import shutil
import time

from . import proc, stock
from .figures import Figure, number
from .peers import Portcullis
from .peers.base import PATH

CONNECTIONS = 32
SECONDS = Figure("seconds", "until all are answered 200", lambda value: f"{number(value)} s")
CPU_SECONDS = Figure("cpu_seconds", "CPU", lambda value: f"{number(value)} s")
P99 = Figure("p99_ms", "p99", lambda value: f"{number(value)} ms")
LISTENING = Figure("ready_seconds", "start to ready", lambda value: f"{number(value)} s")
FIGURES = (SECONDS, CPU_SECONDS, P99, LISTENING)

KNOWN = f"{stock.KEYS:,} of 1,000,000 keys, with the pepper"
COLD = f"{stock.COLD_KEYS} of {stock.COLD_KEYS} keys, without one"
FEWER = stock.KEYS // stock.COLD_KEYS
WHOLE = f"the same for {stock.KEYS:,} keys (x {FEWER}, reckoned)"


def measure(bench, scenario, say):
    """A new process each round. Without its pepper, a store gives every key one argon2id run."""
    samples = {KNOWN: [], COLD: [], WHOLE: []}
    for number_ in range(bench.options.rounds):
        say(f"{scenario.name}: round {number_ + 1}, with the pepper")
        samples[KNOWN].append(_sample(bench, scenario, stock.store(bench.programs, 1_000_000), {}))
        say(f"{scenario.name}: round {number_ + 1}, without a pepper")
        pepper = bench.folder / "other.pepper"
        pepper.write_text(os.urandom(32).hex())
        pepper.chmod(0o600)
        cold = _sample(bench, scenario, stock.cold_store(bench.programs), {"pepper": pepper})
        samples[COLD].append(cold)
        samples[WHOLE].append({key: cold[key] * FEWER for key in ("seconds", "cpu_seconds")})
    return samples


def _sample(bench, scenario, known, settings):
    folder = bench.folder / scenario.name
    folder.mkdir()
    began = time.monotonic()
    try:
        site = bench.site_of(folder, known, settings)
        headers = [pair.header() for pair in site.pairs]
        began = time.monotonic()
        running = Portcullis("portcullis", "argon2id").start(site)
        try:
            ready = time.monotonic() - began
            before = proc.cpu_seconds(running.pid)
            counted = bench.client.once(running.http, PATH, headers, CONNECTIONS)
            used = proc.cpu_seconds(running.pid) - before
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
