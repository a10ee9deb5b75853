"""Calls per second of each kind of server with the fastest peer, to show which is the limit."""

import statistics

from benchmarks.harness.figures import short
from benchmarks.harness.processes import run_interleaved
from benchmarks.harness.serving import nginx, serving
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.peers.registry import RAW, project_peers

FEW, MANY = 10, 1000


def measure(scale: Scale) -> Part:
    """Request pages of both sizes from both kinds."""
    part = Part()
    raw = [peer for peer in project_peers() if peer.name == RAW]
    rounds, round_s = (2, 0.25) if scale.quick else (3, 0.5)
    lines = []
    for kind in ["nginx", "canned"] if nginx() else ["canned"]:
        for rows in (FEW, MANY):
            with serving(rows, kind=kind) as server:
                results, _ = run_interleaved(raw, server, rows, rounds=rounds, round_s=round_s)
            share = statistics.median(results[0].server_share)
            part.data[f"{kind}, {rows} rows"] = {"calls_a_s": results[0].calls_a_s, "share": share}
            lines.append((f"{kind}, {rows} rows", short(results[0].calls_a_s), f"{share:.0%}"))
    print(f"\nservers, measured by {RAW}")
    print_table(("", "calls/s", "server's CPU"), lines)
    if not nginx():
        part.notes.append("nginx is not installed: the canned server was used in all parts")
    return part
