"""A pull of a million planned slices: its plan, its memory, and when its first outcome comes."""

import sys

from benchmarks.figures import Figure, short
from benchmarks.harness import Peer, once
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.serving import serving
from benchmarks.task import Measured, Task

PLANNED, FEWER = 1_000_000, 10_000
ACCOUNTS = 1_000
ROWS = 10
LATENCY_S = 0.05
CONCURRENCY = 32


def measure(scale: Scale) -> Part:
    """Pull both, and a few outcomes of the million from a server that takes its time."""
    peer = Peer("costs.pull", "this_pull", sys.executable)
    taken = 20_000 if scale.quick else 100_000

    with serving(ROWS) as server:
        few = once(peer, _task(server.base_url, FEWER, FEWER))
        many = once(peer, _task(server.base_url, PLANNED, taken))
    with serving(ROWS, latency_s=LATENCY_S) as server:
        slow = once(peer, _task(server.base_url, PLANNED, 1_000))
    _print({f"{FEWER:,}": few, f"{PLANNED:,}": many, f"{PLANNED:,}, 50 ms away": slow})
    return Part(
        figures=[
            Figure(f"seconds to plan {PLANNED:,} slices", many.extra["plan_s"], 1),
            Figure(f"MiB of a plan of {PLANNED:,} slices", many.extra["plan_mib"], 100),
            Figure(
                f"peak memory of {PLANNED:,} slices as a share of {FEWER:,} slices'",
                many.peak_mib / few.peak_mib,
                1.05,
            ),
            Figure(
                "seconds to the first outcome, in request latencies",
                slow.extra["first_s"] / LATENCY_S,
                2,
            ),
        ],
        data={"few": few.extra, "many": many.extra, "slow": slow.extra},
        notes=[f"of {PLANNED:,} planned slices the first {taken:,} outcomes were taken"],
    )


def _task(base_url: str, planned: int, taken: int) -> Task:
    return Task(base_url, taken, CONCURRENCY, planned=planned, accounts=ACCOUNTS)


def _print(met: dict[str, Measured]) -> None:
    print(f"\nplanned slices of {ROWS} rows, {CONCURRENCY} at once")
    lines = [
        (
            name,
            f"{each.rows // ROWS:,}",
            f"{each.extra['plan_s'] * 1e3:.1f}",
            f"{each.extra['plan_mib']:.2f}",
            f"{each.extra['first_s'] * 1e3:.1f}",
            short(each.peak_mib),
            f"{each.cpu_s / (each.rows / ROWS) * 1e6:.1f}",
        )
        for name, each in met.items()
    ]
    columns = ("planned", "taken", "plan ms", "plan MiB", "first ms", "peak MiB", "us CPU")
    print_table(columns, lines)
