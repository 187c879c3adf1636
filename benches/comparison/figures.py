"""What is shown of a sample: its name in the results, its heading, and how its values are written."""

from collections.abc import Callable
from dataclasses import dataclass


def number(value):
    """Three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def whole(value):
    """Without places."""
    return f"{value:,.0f}"


def ratio(value):
    """Two places; large ones with fewer."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Figure:
    """A column, and its ratio to the baseline beside it."""

    key: str
    heading: str
    show: Callable[[float], str]
    compares: bool = True


CPU = Figure("cpu_us", "CPU a request", lambda value: f"{number(value)} µs")
RATE = Figure("rate", "requests/s", whole)
P50 = Figure("p50_ms", "p50", lambda value: f"{number(value)} ms")
P99 = Figure("p99_ms", "p99", lambda value: f"{number(value)} ms")
MEMORY = Figure("memory_bytes", "memory", lambda value: f"{value / (1 << 20):.1f} MiB")

USUAL = (CPU, RATE, P50, P99, MEMORY)
