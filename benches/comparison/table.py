"""Tables from samples: medians, and the ratio of each round to the baseline in the same round."""

from statistics import median

from .columns import RATE, ratio

BUSY = 0.9  # of a core: below it, the load was the limit
LOAD_NOTE = f"* used less than {BUSY:.0%} of its core: the load, not this program, was the limit"


def summary(scenario, samples):
    """For each row each column's median over the rounds, and its ratio to the baseline: median, least, most."""
    result = {}
    for name, rounds in samples.items():
        result[name] = {"busy": median(sample.get("busy", 1) for sample in rounds)}
        bases = samples[scenario.baseline] if scenario.baseline else []
        for column in scenario.columns:
            key = column.key
            if key not in rounds[0]:
                continue
            ratios = [
                sample[key] / base[key] for sample, base in zip(rounds, bases, strict=False) if base.get(key)
            ]
            result[name][key] = {
                "median": median(sample[key] for sample in rounds),
                "ratio": median(ratios) if ratios else None,
                "least": min(ratios, default=None),
                "most": max(ratios, default=None),
            }
    return result


def cells(scenario, samples):
    """Headings, and the cells of each row. How far the rounds lie apart is shown of the first column."""
    headings = [""]
    for at, column in enumerate(scenario.columns):
        headings.append(column.heading)
        if scenario.baseline and column.compares:
            headings.append(f"÷ {scenario.baseline}" if at == 0 else "÷")
            headings += ["least – most"] if at == 0 else []
    lines = []
    for name, row in summary(scenario, samples).items():
        line = [name]
        for at, column in enumerate(scenario.columns):
            found = row.get(column.key)
            value = column.show(found["median"]) if found else ""
            line.append(value + " *" if column is RATE and row["busy"] < BUSY else value)
            if scenario.baseline and column.compares:
                line.append(ratio(found["ratio"]) if found else "")
                if at == 0:
                    spread = found and found["ratio"] is not None and name != scenario.baseline
                    line.append(f"{ratio(found['least'])} – {ratio(found['most'])}" if spread else "")
        lines.append(line)
    return headings, lines


def text(headings, lines):
    """For the terminal: the first column to the left, numbers to the right."""
    lines = [headings, *lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown(headings, lines):
    """The same cells in Markdown."""
    rule = "|---" + "|--:" * (len(headings) - 1) + "|"
    return "\n".join(
        ["| " + " | ".join(headings) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)]
    )
