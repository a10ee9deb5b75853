"""Lag of the event loop while bodies of 100 MB are pulled, beside that of an idle loop."""

import statistics
import sys

from benchmarks.harness.figures import Figure, short
from benchmarks.harness.processes import Peer, run_once
from benchmarks.harness.server import page_body
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measurement, Task
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.peers.registry import BARE, PULL

BODY_BYTES = 100_000_000
BEAT_S = 0.001
CONCURRENCY = 2
P99_BAR_MS, WORST_BAR_MS = 5, 20


def measure(scale: Scale) -> Part:
    """Pull bodies a few times, each time in a process of its own."""
    rows = BODY_BYTES * 1000 // len(page_body(1000, "a", "2018-10-01")) + 1
    bodies, repeats = (2, 1) if scale.quick else (4, 3)
    with serving(rows) as server:
        task = Task(server.base_url, bodies, CONCURRENCY, beat_s=BEAT_S)
        results = {
            name: [run_once(Peer(name, module, sys.executable), job) for _ in range(repeats)]
            for name, module, job in (
                ("an idle loop", "idle", Task("", 20, beat_s=BEAT_S)),
                (PULL, "this_pull", task),
                (BARE, "bare", task),
            )
        }
    print(f"\nloop lag, {bodies} bodies of {BODY_BYTES / 1e6:.0f} MB, {CONCURRENCY} in flight")
    _print(results)
    pulled = results[PULL]
    p99_ms = statistics.median(each.lag_p99_ms for each in pulled)
    worst_ms = statistics.median(each.lag_worst_ms for each in pulled)
    return Part(
        figures=[
            Figure("loop lag while 100 MB bodies are pulled, ms, p99", p99_ms, P99_BAR_MS),
            Figure("loop lag while 100 MB bodies are pulled, ms, worst", worst_ms, WORST_BAR_MS),
        ],
        data={
            name: [{"p99_ms": m.lag_p99_ms, "worst_ms": m.lag_worst_ms} for m in each]
            for name, each in results.items()
        },
        notes=["lags are those of timers at random moments; each is the median of its processes"],
    )


def _print(results: dict[str, list[Measurement]]) -> None:
    lines = [
        (
            name,
            f"{statistics.median(m.lag_p99_ms for m in each):.1f}",
            f"{statistics.median(m.lag_worst_ms for m in each):.1f}",
            f"{max(m.lag_worst_ms for m in each):.1f}",
            short(max(m.peak_mib for m in each)),
            f"{statistics.median(m.cpu_s for m in each):.2f}",
            f"{statistics.median(m.wall_s for m in each):.2f}",
        )
        for name, each in results.items()
    ]
    columns = ("", "p99 ms", "worst ms", "of all", "peak MiB", "CPU s", "wall s")
    print_table(columns, lines)
