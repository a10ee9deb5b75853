"""A pull of a million planned slices: time and memory of its plan, time of its first outcome."""

import sys
from dataclasses import asdict
from statistics import median

from benchmarks.harness.figures import Figure, short
from benchmarks.harness.processes import Peer, run_once
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measurement, Task
from benchmarks.parts.part import LAG, Part, Scale, lag_cell, print_table

PLANNED, FEWER = 1_000_000, 10_000
ACCOUNTS = 1_000
ROWS = 10
LATENCY_S = 0.05
CONCURRENCY = 32


def measure(scale: Scale) -> Part:
    """Pull small and large plans, and the first outcomes of a large one from a slow server."""
    peer = Peer("costs.pull", "this_pull", sys.executable)
    read, repeats = (20_000, 1) if scale.quick else (100_000, 3)
    with serving(ROWS) as server:
        few = [run_once(peer, _task(server.base_url, FEWER, FEWER)) for _ in range(repeats)]
        many = [run_once(peer, _task(server.base_url, PLANNED, read)) for _ in range(repeats)]
    with serving(ROWS, latency_s=LATENCY_S) as server:
        slow = [run_once(peer, _task(server.base_url, PLANNED, 1_000)) for _ in range(repeats)]
    results = {f"{FEWER:,}": few, f"{PLANNED:,}": many, f"{PLANNED:,}, 50 ms away": slow}
    _print(results)
    plan_s = median(each.extra["plan_s"] for each in many)
    plan_mib = median(each.extra["plan_mib"] for each in many)
    memory = median(each.peak_mib for each in many) / median(each.peak_mib for each in few)
    latencies = median(each.extra["first_s"] for each in slow) / LATENCY_S
    return Part(
        figures=[
            Figure(f"seconds to plan {PLANNED:,} slices", plan_s, 1),
            Figure(f"MiB of a plan of {PLANNED:,} slices", plan_mib, 100),
            Figure(
                f"peak memory of {PLANNED:,} slices as a share of {FEWER:,} slices'", memory, 1.05
            ),
            Figure("request latencies until the first outcome", latencies, 2),
        ],
        data={
            name: [asdict(measurement) for measurement in each] for name, each in results.items()
        },
        notes=[f"of {PLANNED:,} planned slices the first {read:,} outcomes were read"],
    )


def _task(base_url: str, planned: int, read: int) -> Task:
    return Task(base_url, read, CONCURRENCY, planned=planned, accounts=ACCOUNTS)


def _print(results: dict[str, list[Measurement]]) -> None:
    print(f"\nplanned slices of {ROWS} rows, {CONCURRENCY} in flight")
    lines = [
        (
            name,
            f"{each[0].rows // ROWS:,}",
            f"{median(m.extra['plan_s'] for m in each) * 1e3:.1f}",
            f"{median(m.extra['plan_mib'] for m in each):.2f}",
            f"{median(m.extra['first_s'] for m in each) * 1e3:.1f}",
            short(median(m.peak_mib for m in each)),
            f"{median(m.cpu_s / (m.rows / ROWS) for m in each) * 1e6:.1f}",
            lag_cell(each),
        )
        for name, each in results.items()
    ]
    columns = ("planned", "read", "plan ms", "plan MiB", "first ms", "peak MiB", "us CPU", LAG)
    print_table(columns, lines)
