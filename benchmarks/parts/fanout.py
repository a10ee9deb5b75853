"""Fan-out: how long many slices take at a latency, beside what so many at once could do."""

import statistics
import sys
from math import ceil

from benchmarks.harness.figures import Figure
from benchmarks.harness.processes import Peer, once
from benchmarks.harness.serving import serving
from benchmarks.harness.task import Measured, Task
from benchmarks.parts.part import LAG, Part, Scale, lag_cell, print_table
from benchmarks.peers.registry import BARE, PULL

SLICES, CONCURRENCY, LATENCY_S, ROWS = 2_000, 64, 0.05, 10
IDEAL_S = ceil(SLICES / CONCURRENCY) * LATENCY_S
"""Full rounds: nobody can do with less, as the last one is as long as the others."""

BAR = 1.03


def measure(scale: Scale) -> Part:
    """Pull them with this client, and ask for them by bare aiohttp."""
    repeats = 1 if scale.quick else 5
    peers = {PULL: "this_pull", BARE: "bare"}
    met: dict[str, list[Measured]] = {name: [] for name in peers}
    with serving(ROWS, latency_s=LATENCY_S) as server:
        for _ in range(repeats):
            for name, module in peers.items():
                peer = Peer(name, module, sys.executable)
                met[name].append(once(peer, Task(server.base_url, SLICES, CONCURRENCY)))
    took_s = {name: [each.wall_s for each in runs] for name, runs in met.items()}
    print(
        f"\n{SLICES:,} slices, {LATENCY_S * 1e3:.0f} ms, {CONCURRENCY} at once: ideal {IDEAL_S:g} s"
    )
    print_table(
        ("", "s", "of ideal", "worst", LAG),
        [
            (
                name,
                f"{statistics.median(each):.3f}",
                f"{statistics.median(each) / IDEAL_S:.3f}",
                f"{max(each) / IDEAL_S:.3f}",
                lag_cell(met[name]),
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
