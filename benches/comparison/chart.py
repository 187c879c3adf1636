"""The chart: CPU time a request of each peer, for each scenario; nginx without authentication is 1."""

from html import escape

from .columns import CPU, ratio
from .peers import BASELINE
from .table import summary

CUT = 3.0  # bars end here; what is longer is written beside them
STEP = 0.5

WIDTH = 760
LABELS = 150  # left of the bars
NUMBERS = 70  # right of them
BAR = 13
ROW = 18
TITLE = 40
BETWEEN = 16
HEAD = 58

# One hue that tells Portcullis from all others, which are told apart by their names; legible on white and on black.
STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.strong { font-weight: 600 }
.quiet { fill: #57606a }
.bar { fill: #8c959f }
.ours { fill: #0969da }
.ground { fill: #d0d7de }
.grid { stroke: #d0d7de; stroke-width: 1 }
.one { stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 4 3 }
.cut { stroke: #ffffff; stroke-width: 3 }
.value { paint-order: stroke; stroke: #ffffff; stroke-width: 3px }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #9198a1 }
  .bar { fill: #6e7681 }
  .ours { fill: #4493f8 }
  .ground { fill: #3d444d }
  .grid { stroke: #2f353d }
  .one { stroke: #9198a1 }
  .cut, .value { stroke: #0d1117 }
}"""

# What shows where the floor is, rather than what one could use.
GROUND = ("hyper", "floor")


def draw(scenarios, results, about):
    """The SVG's text, of the scenarios that compare CPU time with the baseline."""
    blocks = [
        (scenario, summary(scenario, results[scenario.name]))
        for scenario in scenarios
        if scenario.name in results and scenario.columns[0] is CPU and scenario.baseline == BASELINE
    ]
    parts, top = [], HEAD
    for scenario, rows in blocks:
        parts.append(_block(scenario, rows, top))
        top += TITLE + ROW * len(rows) + BETWEEN
    head = [
        _text(0, 16, "CPU time a request; nginx without authentication is 1", "strong"),
        _text(0, 36, f"{about['machine']}, {about['kernel']}; one worker each; shorter is better", "quiet"),
    ]
    size = f'width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    label = 'role="img" aria-label="CPU time a request of each program, relative to nginx"'
    body = "\n".join([*head, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def _block(scenario, rows, top):
    bottom = top + TITLE + ROW * len(rows) - (ROW - BAR)
    parts = [_text(0, top + 12, f"{scenario.name}: {scenario.text}", "strong")]
    for step in range(int(CUT / STEP) + 1):
        kind = "one" if step * STEP == 1 else "grid"
        parts.append(_line(_at(step * STEP), top + TITLE - 5, _at(step * STEP), bottom + 3, kind))
        parts.append(_text(_at(step * STEP), top + TITLE - 8, f"{step * STEP:g}", "quiet", "middle"))
    for number, (name, row) in enumerate(rows.items()):
        parts.append(_bar(name, row[CPU.key]["ratio"], top + TITLE + ROW * number))
    return "\n".join(parts)


def _bar(name, value, y):
    end = _at(min(value, CUT))
    kind = "ours" if name == "portcullis" else "ground" if name in GROUND else "bar"
    middle = y + BAR - 2.5
    parts = [
        _text(LABELS - 8, middle, name, "strong" if kind == "ours" else "", "end"),
        f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{end - LABELS:.1f}" height="{BAR}"/>',
        _text(end + 6, middle, ratio(value), "value strong" if kind == "ours" else "value"),
    ]
    if value > CUT:  # a gap in the bar says that it goes on
        parts.append(_line(end - 22, y + BAR + 2, end - 14, y - 2, "cut"))
    return "\n".join(parts)


def _at(value):
    return LABELS + (WIDTH - LABELS - NUMBERS) * value / CUT


def _text(x, y, text, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1, y1, x2, y2, kind):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
