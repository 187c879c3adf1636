"""Runs the whole comparison."""

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from . import fixtures, machine, rounds, table
from .all_scenarios import SCENARIOS
from .options import parse
from .peers import PEERS
from .child_processes import Child, free_port
from .results import FILE, Results, print_about, print_block


def main():
    """Exit status: 0 measured, 1 something went wrong, 130 interrupted."""
    options = parse()
    # every way of being told to stop ends the children and removes the files
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if options.list:
            show_names()
        elif options.show:
            show(options)
        else:
            run(options)
    except machine.Failure as failure:
        print(f"\ncompare: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncompare: interrupted", file=sys.stderr)
        return 130
    return 0


def show_names():
    """What the command line knows."""
    for scenario in SCENARIOS:
        print(f"{scenario.name:18} {scenario.text}")
    print("\npeers: " + ", ".join(PEERS))


def show(options):
    """What earlier runs have measured."""
    results = Results.load()
    print_about(results.about())
    for scenario, kept in results.measured():
        print_block(scenario, kept)
    print(table.LOAD_NOTE)
    results.write(options.markdown, options.chart)


def run(options):
    """Measures and reports."""
    began = time.monotonic()
    machine.raise_open_files()
    machine.install()
    portcullis, programs = machine.build(options.portcullis, options.programs)
    cores = machine.Cores(not options.no_pinning)
    about = machine.describe(portcullis)
    about["pinning"] = cores.describe()
    about["rounds"] = f"{options.rounds} of {options.seconds} s"
    print_about(about)
    results = Results.load() if options.add and FILE.exists() else Results()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-compare-")))
        upstream = free_port()
        child = Child([programs / "upstream", f"127.0.0.1:{upstream}"], cores.load, folder / "upstream.log")
        stack.callback(child.stop)
        child.wait_for(upstream)
        certificate = fixtures.certificate(folder)
        bench = rounds.Bench(options, folder, cores, portcullis, programs, upstream, certificate)
        for scenario in SCENARIOS:
            if scenario.name in options.only:
                measure(bench, scenario, results, about)
    results.write(options.markdown, options.chart)
    print(table.LOAD_NOTE)
    print(f"done in {time.monotonic() - began:.0f} s; results are in {FILE}")


def measure(bench, scenario, results, about):
    """One scenario, shown as soon as it is there."""
    samples = (scenario.measure or rounds.measure)(bench, scenario, say)
    results.add(scenario, samples, rounds.remarks(bench), about)
    say("")
    print_block(scenario, results.scenarios[scenario.name])


def say(what):
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
