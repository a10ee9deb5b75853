"""How cost grows: with slices, accounts, rows a page, and concurrency; a plot each.

Each point is a process of its own. The exponent is that of the power that fits best: once through
all points, and once through the last two decades, where what a pull costs whatever its size no
longer hides how it grows.
"""

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness.figures import exponent
from benchmarks.harness.processes import Peer, once
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measured, Task
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.parts.plot import plot
from benchmarks.peers.registry import GET, PULL

_TAIL = 100
"""How many times smaller than the largest point one may be that counts as one of the last."""

_LONG = 50_000
"""Calls of a point that is steady enough without being repeated."""


@dataclass(frozen=True)
class Axis:
    """Something that grows.

    Attributes:
        name: what it is called, in tables and as a file.
        label: what its numbers count.
        points: its values; those of a quick run come first.
        quick_points: how many of them a quick run measures.
        rows: rows a page, at a point.
        task: the task at a point, given the server's address and whether it is a quick run.
        module: who does it.
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


def _accounts(point: int, base_url: str, quick: bool) -> Task:  # noqa: ARG001  as all axes
    return Task(base_url, 3 * point, 32, accounts=point)


def _rows(point: int, base_url: str, quick: bool) -> Task:  # noqa: ARG001  as all axes
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
        "rows a page, one call at a time",
        (10, 100, 1_000, 10_000, 100_000, 1_000_000),
        6,
        lambda point: point,
        _rows,
        "this_get",
    ),
    Axis(
        "concurrency",
        "requests at once, of a pull of slices of 10 rows",
        (1, 10, 100, 1_000, 3, 30, 300),
        4,
        _ten,
        _concurrency,
    ),
)


@dataclass(frozen=True)
class Point:
    """What an axis came to at a point: medians of a few processes.

    Attributes:
        at: the value on the axis.
        cpu_s: CPU of the whole task, or of a call where a point says how large calls are.
        peak_mib: most memory.
        plan_s: what planning took; 0 where nothing was planned.
        lag_ms: how late the loop was: p99 and worst.
    """

    at: int
    cpu_s: float
    peak_mib: float
    plan_s: float
    lag_ms: tuple[float, float]


def measure(scale: Scale) -> Part:
    """Measure every axis, and draw it."""
    part = Part()
    for axis in AXES:
        points = _points(axis, quick=scale.quick)
        curves = curves_of(axis, points)
        part.data[axis.name] = curves | {"lag_ms": {p.at: p.lag_ms for p in points}}
        _print(axis, curves, points)
        part.notes += plot(scale.out / f"growth-{axis.name}.png", axis.label, curves)
    part.notes.append(
        "of the largest plans the first 100,000 outcomes were taken (10,000 in a quick run)"
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
        met = [once(peer, task) for _ in range(repeats)]
    return Point(
        at,
        _median(met, lambda each: each.cpu_s / (task.calls if axis.module == "this_get" else 1)),
        _median(met, lambda each: each.peak_mib),
        _median(met, lambda each: each.extra.get("plan_s", 0.0)),
        (_median(met, lambda each: each.lag_p99_ms), _median(met, lambda each: each.lag_worst_ms)),
    )


def _median(met: Sequence[Measured], read: Callable[[Measured], float]) -> float:
    return statistics.median(map(read, met))


def curves_of(axis: Axis, points: Sequence[Point]) -> dict[str, Any]:
    """What grows along an axis, each with its points and its exponents."""
    cpu = "CPU s a call" if axis.module == "this_get" else "CPU s"
    curves = {
        cpu: [(p.at, p.cpu_s) for p in points],
        "peak MiB": [(p.at, p.peak_mib) for p in points],
    }
    if axis.name == "slices":
        curves["plan s"] = [(p.at, p.plan_s) for p in points]
        # Where not all outcomes are taken, CPU says nothing of the number that is planned.
        taken = points[-1].at // 10 if len(points) > 1 else points[-1].at
        curves[cpu] = [(at, value) for at, value in curves[cpu] if at <= taken]
    return {name: fitted(curve) for name, curve in curves.items()}


def fitted(curve: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A curve with the exponents of all of it, and of its last two decades."""
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
