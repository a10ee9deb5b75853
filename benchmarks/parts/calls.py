"""CPU and instructions per call: this client, its peers and the floors, on the same server."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import Figure, median_ratio, short, spread
from benchmarks.harness.instructions import available_counter
from benchmarks.harness.machine import named
from benchmarks.harness.processes import Peer, PeerError, Rounds, run_interleaved
from benchmarks.harness.serving import serving
from benchmarks.parts.instructions import NO_COUNTER, count, print_counts
from benchmarks.parts.part import LAG, Part, Scale, lag_cell, print_table
from benchmarks.peers.registry import (
    BARE,
    BY_HAND,
    GENERATED,
    GET,
    PULL,
    RAW,
    prepare_guests,
    project_peers,
)

FEW, MANY = 10, 1000
"""Rows per page."""

_SERVER_IS_LIMIT = 0.9
"""Share of a core from which a server counts as the limit of a peer's calls per second."""

BARS = (
    (GET, BARE, {FEW: 1.10, MANY: 1.03}),
    (GET, GENERATED, {FEW: 1 / 4, MANY: 1 / 8}),
    (GET, BY_HAND, {FEW: 1 / 15, MANY: 1 / 15}),
)
"""Upper limits of the CPU per call, as a share of a peer's."""

ROWS_OF_RAW = 0.8
"""Lower limit of the rows per CPU second, as a share of the raw protocol's."""


def measure(scale: Scale) -> Part:
    """Measure all peers at both page sizes."""
    part = Part()
    with tempfile.TemporaryDirectory() as folder:
        others, missing = prepare_guests(scale.environment, Path(folder))
        peers = [*project_peers(), *others]
        for rows in (FEW, MANY):
            failed = _measure_page(part, scale, peers, rows)
    for reason in [*missing, *failed]:
        part.notes.append(f"missing: {reason}")
    _count_instructions(part, scale)
    return part


def _count_instructions(part: Part, scale: Scale) -> None:
    """Add instructions per call, which vary less than CPU time."""
    counter = available_counter()
    if counter is None:
        part.notes.append(NO_COUNTER)
        return
    try:
        # A quick run counts only small pages in the published setting: callgrind is slow.
        counts = count(counter, *(((FEW,), (16,)) if scale.quick else ()))
    except PeerError as error:
        part.notes.append(f"instructions were not counted: {error}")
        return
    print(f"\ninstructions per call in user mode, by {counter}")
    print_counts(counts)
    part.data["instructions per call"] = {
        name: {
            f"{each.rows} rows, {each.callers} callers": values
            for each, values in by_setting.items()
        }
        for name, by_setting in counts.items()
    }


def _measure_page(part: Part, scale: Scale, peers: Sequence[Peer], rows: int) -> list[str]:
    """Measure all peers at one page size, and return why some of them failed."""
    rounds, round_s = (3, 0.6) if scale.quick else (7, 1.0)
    with serving(rows) as server:
        measured, failed = run_interleaved(peers, server, rows, rounds=rounds, round_s=round_s)
    by_name = {each.peer.name: each for each in measured}
    print(f"\n{rows} rows per page, {server.kind}, {rounds} interleaved rounds of {round_s} s")
    _print(by_name)
    part.figures += figures(by_name, rows)
    part.data[f"{rows} rows"] = {name: _json_data(each) for name, each in by_name.items()}
    part.notes += bars_out_of_reach(by_name, rows)
    part.notes += [
        f"{name}, {rows} rows: the server was the limit of its calls per second"
        for name, each in by_name.items()
        if statistics.median(each.server_share) > _SERVER_IS_LIMIT
    ]
    return failed


def figures(results: Mapping[str, Rounds], rows: int) -> list[Figure]:
    """Return the figures of one page size whose peers were measured."""
    figures = [
        Figure(
            f"CPU of {subject} as a share of {peer}'s, {rows} rows",
            median_ratio(results[subject].cpu_us, results[peer].cpu_us),
            bars[rows],
        )
        for subject, peer, bars in BARS
        if peer in results
    ]
    if rows == MANY:
        figures += [
            Figure(
                f"rows per CPU second of {subject} as a share of {RAW}'s",
                median_ratio(results[subject].rows_a_cpu_s, results[RAW].rows_a_cpu_s),
                ROWS_OF_RAW,
                at_least=True,
            )
            for subject in (GET, PULL)
        ]
    return figures


def bars_out_of_reach(results: Mapping[str, Rounds], rows: int) -> list[str]:
    """Return a note for each bar that the floor of the stack misses itself."""
    shares = {
        peer: (median_ratio(results[BARE].cpu_us, results[peer].cpu_us), bars[rows])
        for _, peer, bars in BARS
        if peer in results and peer != BARE
    }
    notes = [
        f"{rows} rows: {BARE} itself takes {share:.3f} of {peer}'s CPU, more than the bar"
        for peer, (share, bar) in shares.items()
        if share > bar
    ]
    rows_share = median_ratio(results[BARE].rows_a_cpu_s, results[RAW].rows_a_cpu_s)
    if rows == MANY and rows_share < ROWS_OF_RAW:
        notes.append(f"{BARE} itself reaches {rows_share:.3f} of {RAW}'s rows per CPU second")
    return notes


def _print(results: Mapping[str, Rounds]) -> None:
    floor = results[BARE].cpu_us
    lines = [
        (
            name,
            short(statistics.median(each.cpu_us)),
            spread(each.cpu_us),
            f"{median_ratio(each.cpu_us, floor):.2f}",
            short(statistics.median(each.rows_a_cpu_s)),
            short(each.calls_a_s),
            f"{max(m.peak_mib for m in each.measurements):.0f}",
            lag_cell(each.measurements),
            f"{statistics.median(m.cpu_s / m.wall_s for m in each.measurements):.0%}",
            f"{statistics.median(each.server_share):.0%}",
        )
        for name, each in results.items()
    ]
    columns = ("", "us CPU", "min-max", "of bare", "rows/CPU s", "calls/s", "MiB")
    print_table((*columns, LAG, "core", "server"), lines)


def _json_data(each: Rounds) -> dict[str, Any]:
    return {
        "libraries": named(each.versions),
        "calls_a_round": each.calls,
        "cpu_us": each.cpu_us,
        "server_share": each.server_share,
        "rounds": [asdict(measurement) for measurement in each.measurements],
    }
