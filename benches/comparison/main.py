"""The comparison from its beginning to its end."""

import json
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from . import chart, machine, rounds, stock, table
from .options import parse
from .peers import PEERS
from .process import Child, free_port
from .everything import SCENARIOS


def main():
    """Exit status: 0 measured, 1 something went wrong, 130 interrupted."""
    options = parse()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:18} {scenario.text}")
        print("\npeers: " + ", ".join(PEERS))
        return 0
    # both ways of being told to stop end the children and remove the files
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(options)
    except machine.Failure as failure:
        print(f"\ncompare: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncompare: interrupted", file=sys.stderr)
        return 130
    return 0


def run(options):
    """Measures and reports."""
    began = time.monotonic()
    machine.raise_open_files()
    machine.install()
    portcullis, programs = machine.build(options.portcullis, options.programs)
    about = machine.describe(portcullis)
    cores = machine.Cores(not options.no_pinning)
    about["pinning"] = cores.describe()
    about["rounds"] = f"{options.rounds} of {options.seconds} s"
    print("\n".join(f"{name:10}  {value}" for name, value in about.items()) + "\n", flush=True)
    results = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portcullis-compare-")))
        upstream = free_port()
        child = Child([programs / "upstream", f"127.0.0.1:{upstream}"], cores.load, folder / "upstream.log")
        stack.callback(child.stop)
        child.wait_for(upstream)
        certificate = stock.certificate(folder)
        bench = rounds.Bench(options, folder, cores, portcullis, programs, upstream, certificate)
        for scenario in SCENARIOS:
            if scenario.name in options.only:
                measure = scenario.measure or rounds.measure
                results[scenario.name] = measure(bench, scenario, say)
                print_block(scenario, results[scenario.name], bench.remarks)
                bench.remarks.clear()
                keep(about, results)
    if options.markdown:
        write_markdown(Path(options.markdown), about, results)
    if options.chart:
        Path(options.chart).write_text(chart.draw(SCENARIOS, results, about))
    print(table.LOAD_NOTE)
    print(f"done in {time.monotonic() - began:.0f} s; results are in {machine.KEPT / 'results.json'}")


def say(what):
    """One line that is written over, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)


def print_block(scenario, samples, remarks):
    """A scenario's table, as soon as it is there."""
    say("")
    print(f"{scenario.name}: {scenario.text}")
    print(table.text(*table.cells(scenario, samples)))
    notes = [scenario.notes] if scenario.notes else []
    print("\n".join([*notes, *remarks, ""]), flush=True)


def keep(about, results):
    """After every scenario, so that a run that is stopped has not been for nothing."""
    machine.KEPT.mkdir(parents=True, exist_ok=True)
    whole = {
        scenario.name: {
            "text": scenario.text,
            "samples": results[scenario.name],
            "summary": table.summary(scenario, results[scenario.name]),
        }
        for scenario in SCENARIOS
        if scenario.name in results
    }
    (machine.KEPT / "results.json").write_text(json.dumps({"about": about, "scenarios": whole}, indent=1))


def write_markdown(file, about, results):
    """The tables, and what they were measured with."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in about.items())]
    for scenario in SCENARIOS:
        if scenario.name in results:
            cells = table.cells(scenario, results[scenario.name])
            parts += [f"## {scenario.name}: {scenario.text}", table.markdown(*cells)]
            parts += [scenario.notes] if scenario.notes else []
    file.write_text("\n\n".join([*parts, table.LOAD_NOTE]) + "\n")
