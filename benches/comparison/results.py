"""The results: kept in one file from run to run, and shown as tables and a chart."""

import json
from pathlib import Path

from . import chart, table
from .all_scenarios import SCENARIOS
from .machine import KEPT, Failure

FILE = KEPT / "results.json"


class Results:
    """Samples by scenario and row, each scenario with what it was measured with."""

    def __init__(self, scenarios=None):
        self.scenarios = scenarios or {}

    @classmethod
    def load(cls):
        """Of earlier runs."""
        try:
            return cls(json.loads(FILE.read_text())["scenarios"])
        except FileNotFoundError:
            raise Failure(f"there is no {FILE} yet") from None

    def add(self, scenario, samples, remarks, about):
        """Kept at once, so that a run that is stopped has not been for nothing."""
        self.scenarios[scenario.name] = {
            "text": scenario.text,
            "about": about,
            "remarks": remarks,
            "samples": samples,
            "summary": table.summary(scenario, samples),
        }
        KEPT.mkdir(parents=True, exist_ok=True)
        FILE.write_text(json.dumps({"scenarios": self.scenarios}, indent=1))

    def measured(self):
        """Scenarios in their order, with what is kept of each."""
        return [(each, self.scenarios[each.name]) for each in SCENARIOS if each.name in self.scenarios]

    def about(self):
        """Of the scenarios together: where runs differ, what each of them says."""
        merged = {}
        for _, kept in self.measured():
            for name, value in kept["about"].items():
                values = merged.setdefault(name, [])
                if value not in values:
                    values.append(value)
        return {name: "; ".join(values) for name, values in merged.items()}

    def write(self, markdown, drawing):
        """The files that were asked for."""
        if markdown:
            Path(markdown).write_text(self._markdown())
        if drawing:
            samples = {scenario.name: kept["samples"] for scenario, kept in self.measured()}
            Path(drawing).write_text(chart.draw(SCENARIOS, samples, self.about()))

    def _markdown(self):
        parts = ["\n".join(f"- {name}: {value}" for name, value in self.about().items())]
        for scenario, kept in self.measured():
            parts += [f"## {scenario.name}: {scenario.text}"]
            parts += [table.markdown(*table.cells(scenario, kept["samples"]))]
            parts += notes(scenario, kept["remarks"])
        return "\n\n".join([*parts, table.LOAD_NOTE]) + "\n"


def notes(scenario, remarks):
    """What stands below a scenario's table."""
    return [*([scenario.notes] if scenario.notes else []), *remarks]


def print_about(about):
    """Machine and versions."""
    print("\n".join(f"{name:10}  {value}" for name, value in about.items()) + "\n", flush=True)


def print_block(scenario, kept):
    """A scenario's table."""
    print(f"{scenario.name}: {scenario.text}")
    print(table.text(*table.cells(scenario, kept["samples"])))
    print("\n".join([*notes(scenario, kept["remarks"]), ""]), flush=True)
