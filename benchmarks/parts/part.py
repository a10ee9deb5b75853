"""Arguments and results of the parts of a run, and the tables that they print."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.environment import Environment
from benchmarks.harness.figures import Figure
from benchmarks.harness.task import Measurement


@dataclass(frozen=True)
class Scale:
    """Size of a run, and its folders.

    Attributes:
        quick: True for a run of two minutes, which is less exact.
        out: folder of the results.
        environment: the peers' virtual environment.
    """

    quick: bool
    out: Path
    environment: Environment


@dataclass
class Part:
    """Results of a part.

    Attributes:
        figures: figures that have a bar.
        data: all other results, as plain data for JSON.
        notes: remarks for readers.
    """

    figures: list[Figure] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


LAG = "lag ms p99, worst"
"""Title of the column of `lag_cell`."""


def lag_cell(measurements: Sequence[Measurement]) -> str:
    """Format the lag of event loops in ms: the median of the p99, and the largest of all."""
    if not any(each.lag_worst_ms for each in measurements):
        return "no loop"
    p99_ms = statistics.median(each.lag_p99_ms for each in measurements)
    return f"{p99_ms:.1f}, {max(each.lag_worst_ms for each in measurements):.1f}"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under the column titles: the first column left-aligned, the others right."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        print("  ".join([line[0].ljust(widths[0]), *cells]), flush=True)
