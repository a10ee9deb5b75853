"""Growth of cost with slices, accounts, rows per page, and concurrency, with a plot for each.

Each point is a process of its own. The exponent is that of the power law that fits best: once for
all points, and once for the last two decades, where the fixed cost of a pull no longer hides its
growth.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.figures import exponent
from benchmarks.harness.processes import Peer, run_once
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measurement, Task
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.parts.plot import plot
from benchmarks.peers.registry import GET, PULL

_TAIL = 100
"""Largest ratio of the last point to another one of the last decades."""

_LONG = 50_000
"""Number of calls from which a point is not repeated."""


@dataclass(frozen=True)
class Axis:
    """A quantity that grows.

    Attributes:
        name: its name in JSON and in file names.
        label: description of its values, in tables and plots.
        points: its values; those of a quick run come first.
        quick_points: number of values that a quick run measures.
        rows: function of a point that returns the rows per page.
        task: function of a point, the server's address, and True for a quick run.
        module: the peer's module.
    """

    name: str
    label: str
    points: tuple[int, ...]
    quick_points: int
    rows: Callable[[int], int]
    task: Callable[[int, str, bool], Task]
    module: str = "this_pull"


def _ten(_: int) -> int:
    return 10


def _slices(point: int, base_url: str, quick: bool) -> Task:
    most = 10_000 if quick else 100_000
    return Task(base_url, min(point, most), 32, planned=point, accounts=10)


def _accounts(point: int, base_url: str, quick: bool) -> Task:  # noqa: ARG001  the signature of all axes
    return Task(base_url, 3 * point, 32, accounts=point)


def _rows(point: int, base_url: str, quick: bool) -> Task:  # noqa: ARG001  the signature of all axes
    return Task(base_url, max(2, min(1_000, 100_000 // point)), 1)


def _concurrency(point: int, base_url: str, quick: bool) -> Task:
    return Task(base_url, 2_000 if quick else 10_000, point)


AXES = (
    Axis(
        "slices",
        "planned slices of a pull, 10 rows each",
        (10, 100, 1_000, 10_000, 1_000_000, 100_000),
        5,
        _ten,
        _slices,
    ),
    Axis(
        "accounts",
        "accounts of a pull, three slices of 10 rows each",
        (1, 10, 100, 1_000, 10_000),
        4,
        _ten,
        _accounts,
    ),
    Axis(
        "rows",
        "rows per page, one call at a time",
        (10, 100, 1_000, 10_000, 100_000, 1_000_000),
        6,
        lambda point: point,
        _rows,
        "this_get",
    ),
    Axis(
        "concurrency",
        "requests in flight, of a pull of slices of 10 rows",
        (1, 10, 100, 1_000, 3, 30, 300),
        4,
        _ten,
        _concurrency,
    ),
)


@dataclass(frozen=True)
class Point:
    """Measurements at one value of an axis: medians of a few processes.

    Attributes:
        at: the value on the axis.
        cpu_s: CPU of the whole task; CPU per call on the axis of rows per page.
        peak_mib: peak of memory.
        plan_s: seconds of planning; 0 without a plan.
        lag_ms: lag of the loop, p99 and largest.
    """

    at: int
    cpu_s: float
    peak_mib: float
    plan_s: float
    lag_ms: tuple[float, float]


def measure(scale: Scale) -> Part:
    """Measure and plot every axis."""
    part = Part()
    for axis in AXES:
        points = _points(axis, quick=scale.quick)
        curves = curves_of(axis, points)
        part.data[axis.name] = curves | {"lag_ms": {p.at: p.lag_ms for p in points}}
        _print(axis, curves, points)
        part.notes += plot(scale.out / f"growth-{axis.name}.png", axis.label, curves)
    part.notes.append(
        "of the largest plans the first 100,000 outcomes were read (10,000 in a quick run)"
    )
    return part


def _points(axis: Axis, *, quick: bool) -> list[Point]:
    values = axis.points[: axis.quick_points] if quick else axis.points
    return [_point(axis, at, quick) for at in sorted(values)]


def _point(axis: Axis, at: int, quick: bool) -> Point:
    peer = Peer({"this_get": GET, "this_pull": PULL}[axis.module], axis.module, sys.executable)
    with serving(axis.rows(at)) as server:
        task = axis.task(at, server.base_url, quick)
        repeats = 1 if quick or task.calls > _LONG else 3
        measurements = [run_once(peer, task) for _ in range(repeats)]
    return Point(
        at,
        _median(
            measurements, lambda each: each.cpu_s / (task.calls if axis.module == "this_get" else 1)
        ),
        _median(measurements, lambda each: each.peak_mib),
        _median(measurements, lambda each: each.extra.get("plan_s", 0.0)),
        (
            _median(measurements, lambda each: each.lag_p99_ms),
            _median(measurements, lambda each: each.lag_worst_ms),
        ),
    )


def _median(measurements: Sequence[Measurement], read: Callable[[Measurement], float]) -> float:
    return statistics.median(map(read, measurements))


def curves_of(axis: Axis, points: Sequence[Point]) -> dict[str, Any]:
    """Return the curves of an axis by name, each with its points and its exponents."""
    cpu = "CPU s per call" if axis.module == "this_get" else "CPU s"
    curves = {
        cpu: [(p.at, p.cpu_s) for p in points],
        "peak MiB": [(p.at, p.peak_mib) for p in points],
    }
    if axis.name == "slices":
        curves["plan s"] = [(p.at, p.plan_s) for p in points]
        # Where not all outcomes are read, CPU does not depend on the number of planned slices.
        read = points[-1].at // 10 if len(points) > 1 else points[-1].at
        curves[cpu] = [(at, value) for at, value in curves[cpu] if at <= read]
    return {name: fitted(curve) for name, curve in curves.items()}


def fitted(curve: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Return a curve with the exponents of all points, and of the last two decades."""
    tail = [(x, y) for x, y in curve if x * _TAIL >= curve[-1][0]]
    return {"points": list(curve), "exponent": exponent(curve), "exponent_at_end": exponent(tail)}


def _print(axis: Axis, curves: dict[str, Any], points: Sequence[Point]) -> None:
    print(f"\ngrowth with {axis.label}")
    values = [point.at for point in points]
    lines = []
    for name, curve in curves.items():
        by_value = dict(curve["points"])
        cells = [f"{by_value[x]:.3g}" if x in by_value else "" for x in values]
        lines.append((name, *cells, f"{curve['exponent']:.2f}", f"{curve['exponent_at_end']:.2f}"))
    lines.append(("loop lag p99, ms", *(f"{p.lag_ms[0]:.1f}" for p in points), "", ""))
    print_table(("", *(f"{x:,}" for x in values), "exponent", "at the end"), lines)
