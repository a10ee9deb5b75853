"""Rows per CPU second from the wire into a Parquet file, CPU of all threads included."""

import statistics
import sys
from dataclasses import asdict

from benchmarks.harness.figures import Figure, short, spread
from benchmarks.harness.processes import Peer, run_interleaved
from benchmarks.harness.serving import serving
from benchmarks.parts.part import LAG, Part, Scale, lag_cell, print_table

PAGES = (1_000, 10_000)
BAR = 1_000_000


def measure(scale: Scale) -> Part:
    """Pull pages of both sizes into Parquet files."""
    part = Part()
    peer = Peer("costs.pull to Parquet", "this_parquet", sys.executable)
    rounds, round_s = (2, 1.0) if scale.quick else (5, 2.0)
    lines = []
    for rows in PAGES:
        with serving(rows) as server:
            results, failures = run_interleaved(
                [peer], server, rows, rounds=rounds, round_s=round_s
            )
        part.notes += failures
        for each in results:
            values = each.rows_a_cpu_s
            part.data[f"{rows} rows"] = {
                "rows_a_cpu_s": values,
                "calls_a_round": each.calls,
                "rounds": [asdict(measurement) for measurement in each.measurements],
            }
            median = statistics.median(values)
            peak_mib = max(measurement.peak_mib for measurement in each.measurements)
            lag = lag_cell(each.measurements)
            page = f"{rows:,} rows per page"
            lines.append((page, short(median), spread(values), f"{peak_mib:.0f}", lag))
            name = f"rows per CPU second into Parquet, {rows} rows per page"
            part.figures.append(Figure(name, median, BAR, at_least=True))
    print("\nfrom the wire to Parquet")
    print_table(("", "rows/CPU s", "min-max", "MiB", LAG), lines)
    return part
