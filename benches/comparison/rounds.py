"""Rounds: every peer of a scenario runs, and gets the same load in turn, several times."""

import http.client
import shutil
import ssl
import time
from contextlib import ExitStack, closing

from . import proc, stock
from .load import Client, H2load, Wrk
from .machine import Failure
from .peers import BASELINE, PEERS, Site
from .peers.base import PATH
from .scenario import Turn

WARM_SECONDS = 1
PATIENCE = 30  # seconds


class Bench:
    """What all scenarios share: programs, cores, the upstream, a folder for the time of the run."""

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
        self.client = Client(programs / "client", folder, cores.load)

    def site(self, folder, keys, stored, **settings):
        """Where peers run that know so many keys."""
        known = stock.store(self.programs, stored)
        pairs = stock.pairs(known)
        return Site(
            folder=folder,
            upstream=self.upstream,
            certificate=self.certificate,
            key=self.key,
            pairs=pairs[:keys],
            stock=known,
            portcullis=self.portcullis,
            programs=self.programs,
            cores=self.cores.peer,
            settings=settings,
        )

    def turn(self, running, pairs, seconds):
        """A peer's turn."""
        return Turn(running, self.wrk, self.h2load, self.client, pairs, seconds)


def measure(bench, scenario, say):
    """All rounds of a scenario: for each peer a list of samples, one a round."""
    wanted = bench.options.peers
    names = [name for name in PEERS if name in scenario.peers and (name == BASELINE or name in wanted)]
    folder = bench.folder / scenario.name
    folder.mkdir()
    samples = {name: [] for name in names}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        site = bench.site(folder, scenario.keys, scenario.stored)
        peers = {}
        for name in names:
            say(f"{scenario.name}: starting {name}")
            peers[name] = PEERS[name].start(site)
            stack.callback(peers[name].child.stop)
            expect(peers[name], site.pairs[0].header(), 200)
        for number in range(-1, bench.options.rounds):
            for name, running in peers.items():
                warms = number < 0
                say(f"{scenario.name}: " + ("warming " if warms else f"round {number + 1}, ") + name)
                turn = bench.turn(running, site.pairs, WARM_SECONDS if warms else bench.options.seconds)
                sample = take(scenario.load, turn)
                if not warms:
                    samples[name].append(sample)
                running.cut_logs()
    return samples


def take(load, turn):
    """One sample: what the load counted, and what the peer's processes cost meanwhile."""
    pid = turn.running.pid
    before, began = proc.cpu_seconds(pid), time.monotonic()
    counted = load(turn)
    used, took = proc.cpu_seconds(pid) - before, time.monotonic() - began
    return {
        "cpu_us": used * 1e6 / counted.requests,
        "rate": counted.requests / counted.seconds,
        "p50_ms": counted.p50,
        "p99_ms": counted.p99,
        "memory_bytes": proc.resident_bytes(pid),
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
