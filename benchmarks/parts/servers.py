"""Whether a server is the limit: what each kind of it can do, as the fastest of peers meets it."""

import statistics

from benchmarks.harness.figures import short
from benchmarks.harness.processes import in_turns
from benchmarks.harness.serving import nginx, serving
from benchmarks.parts.part import Part, Scale, print_table
from benchmarks.peers.registry import RAW, of_this_project

FEW, MANY = 10, 1000


def measure(scale: Scale) -> Part:
    """Ask both kinds for pages of both sizes."""
    part = Part()
    raw = [peer for peer in of_this_project() if peer.name == RAW]
    rounds, round_s = (2, 0.25) if scale.quick else (3, 0.5)
    lines = []
    for kind in ["nginx", "canned"] if nginx() else ["canned"]:
        for rows in (FEW, MANY):
            with serving(rows, kind=kind) as server:
                met, _ = in_turns(raw, server, rows, rounds=rounds, round_s=round_s)
            share = statistics.median(met[0].server_share)
            part.data[f"{kind}, {rows} rows"] = {"calls_a_s": met[0].calls_a_s, "share": share}
            lines.append((f"{kind}, {rows} rows", short(met[0].calls_a_s), f"{share:.0%}"))
    print(f"\nservers, as {RAW} meets them")
    print_table(("", "calls/s", "server's CPU"), lines)
    if not nginx():
        part.notes.append("this machine has no nginx: the canned server was used throughout")
    return part
