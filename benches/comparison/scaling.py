"""How the cost of Portcullis grows with workers, keys, routes and connections."""

import shutil
import time
from contextlib import ExitStack

from . import fixtures, process_usage
from .columns import CPU, Column, MEMORY, P50, P99, RATE
from .machine import Failure
from .peers import Portcullis
from .peers.portcullis import metric
from .rounds import WARM_SECONDS, expect, take, taking_turns

HOT_KEYS = 10
WORKERS = (1, 2)
STORED = (10, 1_000, 100_000, 1_000_000)
ROUTES = (1, 10, 100, 1_000)
CONNECTIONS = (1, 10, 100, 1_000, 10_000)
SPREAD = (2, 4, 8, 32, 1_000)

COLUMNS = (CPU, RATE, P50, P99, MEMORY)
SHARE = Column("busier_share", "share of the busier worker", lambda value: f"{value:.0%}")
SPREAD_COLUMNS = (SHARE, CPU, RATE)
CONNECTION_COLUMNS = (CPU, RATE, MEMORY)

# While so many connect, nothing is counted.
CONNECTS_PER_SECOND = 4_000


def rows(word, numbers):
    """What the rows are called."""
    return {f"{number:,} {word if number > 1 else word[:-1]}": number for number in numbers}


def workers(bench, scenario, say):
    """On all cores, which the load shares."""
    settings = {name: {"workers": number} for name, number in rows("workers", WORKERS).items()}
    return _rounds(bench, scenario, say, settings, on_all_cores=True)


def stored(bench, scenario, say):
    """Ten hot keys, in stores of different sizes."""
    return _rounds(bench, scenario, say, {name: {"stored": n} for name, n in rows("keys", STORED).items()})


def routes(bench, scenario, say):
    """One of them is asked for."""
    return _rounds(bench, scenario, say, {name: {"routes": n} for name, n in rows("routes", ROUTES).items()})


def connections(bench, scenario, say):
    """All of them busy: what is between two looks at CPU time and counter, after all have connected."""
    counts = rows("connections", CONNECTIONS)
    return _rounds(bench, scenario, say, {name: {} for name in counts}, lambda turn, name: _busy(turn, counts[name]))


def spread(bench, scenario, say):
    """Two workers; the kernel or the gateway decides which of them has a connection."""
    counts = rows("connections", SPREAD)
    settings = {name: {"workers": 2} for name in counts}

    def sample(turn, name):
        pid = turn.running.pid
        before = process_usage.thread_seconds(pid, "worker-")
        result = take(lambda turn: _hot(turn, counts[name]), turn)
        used = [after - before[thread] for thread, after in process_usage.thread_seconds(pid, "worker-").items()]
        if len(used) != 2 or not sum(used):
            raise Failure(f"two workers were expected to work, not {len(used)}")
        return {**result, "busier_share": max(used) / sum(used)}

    return _rounds(bench, scenario, say, settings, sample, on_all_cores=True)


def _hot(turn, count=32):
    headers = [pair.header() for pair in turn.pairs]
    return turn.wrk.run(turn.running.url(), headers, turn.seconds, connections=count)


def _busy(turn, count):
    settle = 1 + count / CONNECTS_PER_SECOND
    whole = round(settle + turn.seconds + 1)
    headers = [pair.header() for pair in turn.pairs]
    with turn.wrk.beside(turn.running.url(), headers, whole, settle, connections=count):
        first = _look(turn.running)
        time.sleep(turn.seconds)
        last = _look(turn.running)
    requests = last["requests"] - first["requests"]
    return {
        "cpu_us": (last["cpu"] - first["cpu"]) * 1e6 / requests,
        "rate": requests / (last["at"] - first["at"]),
        "busy": (last["cpu"] - first["cpu"]) / (last["at"] - first["at"]),
        "memory_bytes": last["memory"],
    }


def _look(running):
    return {
        "at": time.monotonic(),
        "cpu": process_usage.cpu_seconds(running.pid),
        "requests": metric(running, "portcullis_requests_allowed_total"),
        "memory": process_usage.resident_bytes(running.pid),
    }


def _rounds(bench, scenario, say, settings, sample=None, on_all_cores=False):
    """A gateway for each row, all of them running; each round goes through them."""
    sample = sample or (lambda turn, _name: take(_hot, turn))
    folder = bench.folder / scenario.name
    folder.mkdir()
    samples = {name: [] for name in settings}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        gateways, setups = {}, {}
        for number, (name, wanted) in enumerate(settings.items()):
            say(f"{scenario.name}: starting one for {name}")
            (folder / str(number)).mkdir()
            known = fixtures.store(bench.programs, wanted.get("stored", 10))
            setup = bench.setup_with_store(folder / str(number), known, wanted, HOT_KEYS)
            setup.cores = bench.cores.all if on_all_cores else setup.cores
            gateways[name] = Portcullis("portcullis", "argon2id").start(setup)
            stack.callback(gateways[name].child.stop)
            expect(gateways[name], setup.pairs[0].header(), 200)
            setups[name] = setup
        for number, name, running in taking_turns(bench, scenario, gateways, say):
            if number < 0:
                take(_hot, bench.turn(running, setups[name].pairs, WARM_SECONDS))
            else:
                turn = bench.turn(running, setups[name].pairs, bench.options.seconds)
                samples[name].append(sample(turn, name))
    return samples
