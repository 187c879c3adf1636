"""Rounds: each peer of a scenario gets the same load in turn, several times."""

import http.client
import shutil
import ssl
import time
from contextlib import ExitStack, closing

from . import fixtures, process_usage
from .load import Client, H2load, Wrk
from .machine import Failure
from .peers import BASELINE, PEERS, Setup
from .peers.base import PATH
from .peers.portcullis import metric
from .scenario import Turn

WARM_SECONDS = 1
PATIENCE = 30  # seconds
MOST_OTHERS = 0.05  # of the machine; with more, figures are not to be trusted


class Bench:
    """What all scenarios share: programs, cores, the upstream, a temporary folder."""

    def __init__(self, options, folder, cores, portcullis, programs, upstream, certificate):
        self.options = options
        self.folder = folder
        self.cores = cores
        self.portcullis = portcullis
        self.programs = programs
        self.upstream = upstream  # port
        self.certificate, self.key = certificate
        self.wrk = Wrk(folder, cores.load)
        self.h2load = H2load(folder, cores.load)
        self.others = 0  # the most that other programs took of the machine during a turn
        self.remarks = []  # what a scenario's block has to say beside its figures
        self.client = Client(programs / "client", folder, cores.load)

    @property
    def first_round(self):
        """-1 is for warming up, which a quick run goes without."""
        return 0 if self.options.quick else -1

    def setup(self, folder, keys, stored):
        """A setup with this number of keys."""
        return self.setup_with_store(folder, fixtures.store(self.programs, stored), {}, keys)

    def setup_with_store(self, folder, known, settings, keys=None):
        """A setup with this store; without `keys`, with all its known keys."""
        return Setup(
            folder=folder,
            upstream=self.upstream,
            certificate=self.certificate,
            key=self.key,
            pairs=fixtures.pairs(known)[:keys],
            store_folder=known,
            portcullis=self.portcullis,
            programs=self.programs,
            cores=self.cores.peer,
            settings=settings,
        )

    def turn(self, running, pairs, seconds):
        """A peer's turn."""
        return Turn(running, self.wrk, self.h2load, self.client, pairs, seconds)


def names_of(bench, scenario):
    """The peers that take part; the baseline always does."""
    wanted = bench.options.peers
    return [name for name in PEERS if name in scenario.peers and (name == BASELINE or name in wanted)]


def started(stack, bench, scenario, say):
    """Starts the peers of a scenario. Returns them by name, with their setup. The stack ends them and their files."""
    folder = bench.folder / scenario.name
    folder.mkdir()
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    setup = bench.setup(folder, scenario.keys, scenario.stored)
    peers = {}
    for name in names_of(bench, scenario):
        say(f"{scenario.name}: starting {name}")
        peers[name] = PEERS[name].start(setup)
        stack.callback(peers[name].child.stop)
        expect(peers[name], setup.pairs[0].header(), 200)
    return peers, setup


def taking_turns(bench, scenario, peers, say):
    """Each peer in each round. Round -1 is for warming up."""
    for number in range(bench.first_round, bench.options.rounds):
        for name, running in peers.items():
            say(f"{scenario.name}: " + (f"round {number + 1}, {name}" if number >= 0 else f"warming {name}"))
            others = process_usage.Others()
            yield number, name, running
            bench.others = max(bench.others, others.share())
            running.empty_logs()


def measure(bench, scenario, say):
    """All rounds of a scenario: for each peer a list of samples, one a round."""
    with ExitStack() as stack:
        peers, setup = started(stack, bench, scenario, say)
        samples = {name: [] for name in peers}
        for number, name, running in taking_turns(bench, scenario, peers, say):
            seconds = bench.options.seconds if number >= 0 else WARM_SECONDS
            sample = take(scenario.load, bench.turn(running, setup.pairs, seconds))
            if number >= 0:
                samples[name].append(sample)
        for running in peers.values():
            _remark_lost_lines(bench, running)
        return samples


def remarks(bench):
    """The remarks about the scenario that was just measured, once."""
    if bench.others > MOST_OTHERS:
        bench.remarks.append(
            f"Other programs took up to {bench.others:.0%} of the machine: measure again when it is quiet."
        )
    said, bench.remarks, bench.others = bench.remarks, [], 0
    return said


def _remark_lost_lines(bench, running):
    """A log that loses lines is cheaper than one that does not."""
    if running.management:
        lost = metric(running, "portcullis_access_log_lines_dropped_total")
        if lost:
            bench.remarks.append(f"{running.peer.name}: {lost:,.0f} lines of the access log were dropped.")


def take(load, turn):
    """One sample: what the load counted, and what the peer's processes cost meanwhile."""
    pid = turn.running.pid
    before, began = process_usage.cpu_seconds(pid), time.monotonic()
    counted = load(turn)
    used, took = process_usage.cpu_seconds(pid) - before, time.monotonic() - began
    return {
        "cpu_us": used * 1e6 / counted.requests,
        "rate": counted.requests / counted.seconds,
        "p50_ms": counted.p50,
        "p99_ms": counted.p99,
        "memory_bytes": process_usage.resident_bytes(pid),
        "busy": used / took,
        "requests": counted.requests,
    }


def expect(running, header, status, path=PATH):
    """One request by hand on each port: the peer must answer as it should before anything is measured."""
    connections = [http.client.HTTPConnection("127.0.0.1", running.http, timeout=PATIENCE)]
    if running.https:
        context = ssl.create_default_context(cafile=running.certificate)
        connections.append(http.client.HTTPSConnection("localhost", running.https, timeout=PATIENCE, context=context))
    for connection in connections:
        with closing(connection):
            connection.request("GET", path, headers={"Authorization": header} if header else {})
            answer = connection.getresponse()
            answer.read()
        if answer.status != status:
            said = running.child.tail()
            raise Failure(f"{running.peer.name} answers {answer.status}, not {status}:\n{said}")
    if header and running.peer.authentication and status == 200:
        expect(running, None, 401, path)
