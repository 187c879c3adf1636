"""The columns of the tables: the name of a value in the results, its heading, and its format."""

from collections.abc import Callable
from dataclasses import dataclass


def number(value):
    """Three significant digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def whole(value):
    """A whole number."""
    return f"{value:,.0f}"


def ratio(value):
    """Two decimal places; fewer for large values."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Column:
    """A column, with its ratio to the baseline beside it."""

    key: str
    heading: str
    show: Callable[[float], str]
    compares: bool = True


CPU = Column("cpu_us", "CPU a request", lambda value: f"{number(value)} µs")
RATE = Column("rate", "requests/s", whole)
P50 = Column("p50_ms", "p50", lambda value: f"{number(value)} ms")
P99 = Column("p99_ms", "p99", lambda value: f"{number(value)} ms")
MEMORY = Column("memory_bytes", "memory", lambda value: f"{value / (1 << 20):.1f} MiB")

DEFAULT_COLUMNS = (CPU, RATE, P50, P99, MEMORY)
