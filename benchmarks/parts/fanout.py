"""Fan-out: the time of many slices at a latency, beside the ideal time at that concurrency."""

import statistics
import sys
from math import ceil

from benchmarks.harness.figures import Figure
from benchmarks.harness.processes import Peer, run_once
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measurement, Task
from benchmarks.parts.part import LAG, Part, Scale, lag_cell, print_table
from benchmarks.peers.registry import BARE, PULL

SLICES, CONCURRENCY, LATENCY_S, ROWS = 2_000, 64, 0.05, 10
IDEAL_S = ceil(SLICES / CONCURRENCY) * LATENCY_S
"""Full rounds: the last one takes as long as the others, even where it is not full."""

BAR = 1.03


def measure(scale: Scale) -> Part:
    """Fetch the slices by this client and by bare aiohttp."""
    repeats = 1 if scale.quick else 5
    peers = {PULL: "this_pull", BARE: "bare"}
    results: dict[str, list[Measurement]] = {name: [] for name in peers}
    with serving(ROWS, latency_s=LATENCY_S) as server:
        for _ in range(repeats):
            for name, module in peers.items():
                peer = Peer(name, module, sys.executable)
                results[name].append(run_once(peer, Task(server.base_url, SLICES, CONCURRENCY)))
    took_s = {name: [each.wall_s for each in runs] for name, runs in results.items()}
    print(
        f"\n{SLICES:,} slices, {LATENCY_S * 1e3:.0f} ms, {CONCURRENCY} in flight; "
        f"ideal: {IDEAL_S:g} s"
    )
    print_table(
        ("", "s", "of ideal", "worst", LAG),
        [
            (
                name,
                f"{statistics.median(each):.3f}",
                f"{statistics.median(each) / IDEAL_S:.3f}",
                f"{max(each) / IDEAL_S:.3f}",
                lag_cell(results[name]),
            )
            for name, each in took_s.items()
        ],
    )
    of_ideal = statistics.median(took_s[PULL]) / IDEAL_S
    rounds = SLICES / CONCURRENCY
    of_rounds = of_ideal * IDEAL_S / (rounds * LATENCY_S)
    note = f"the ideal is {ceil(rounds)} full rounds; of {rounds:g} it would be {of_rounds:.3f}"
    return Part(
        figures=[Figure(f"makespan of {SLICES:,} slices as a share of the ideal", of_ideal, BAR)],
        data={"seconds": took_s, "ideal_s": IDEAL_S},
        notes=[note],
    )
