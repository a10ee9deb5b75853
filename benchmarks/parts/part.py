"""What parts are given, and what they give."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.environment import Environment
from benchmarks.harness.figures import Figure
from benchmarks.harness.task import Measured


@dataclass(frozen=True)
class Scale:
    """How much is to be measured, and where things go.

    Attributes:
        quick: rather in two minutes than well.
        out: the folder of results.
        environment: where peers are installed.
    """

    quick: bool
    out: Path
    environment: Environment


@dataclass
class Part:
    """What a part came to.

    Attributes:
        figures: those that have a bar.
        data: everything else, as plain data for JSON.
        notes: what a reader has to know about it.
    """

    figures: list[Figure] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def lag_cell(met: Sequence[Measured]) -> str:
    """The lag of some runs' loops in ms: the median of their p99, and the worst of all."""
    if not any(each.lag_worst_ms for each in met):
        return "no loop"
    p99_ms = statistics.median(each.lag_p99_ms for each in met)
    return f"{p99_ms:.1f}, {max(each.lag_worst_ms for each in met):.1f}"


LAG = "lag ms p99, worst"
"""The title of its column."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their columns: the first to the left, the others to the right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join([line[0].ljust(widths[0]), *cells]), flush=True)
