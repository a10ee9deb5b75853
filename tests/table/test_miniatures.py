"""Servers that lie, restate, and have much to tell, in miniature: see `benchmarks`."""

from pathlib import Path

from benchmarks.claims import refresh, rows
from benchmarks.claims.lies import CAUGHT, LIES, measured


async def test_a_lie_is_caught_and_the_truth_is_no_alarm() -> None:
    """One answer lies: it is asked again, or fails, or its day is named; and then all is well."""
    met, alarms = await measured(lies=3, clean_runs=6)
    assert set(met) == set(LIES)
    for counts in met.values():
        assert sum(counts[verdict] for verdict in CAUGHT) == counts.total() == 3
    assert alarms == []


def test_a_refresh_finds_what_was_restated_and_nothing_else(shared: Path, tmp_path: Path) -> None:
    """By account and day, with old and new total; at a request an account."""
    bills = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    found = refresh.measured(bills, 4, tmp_path, by_day=False)
    assert len(found.restated) == 2
    assert (found.missed, found.invented) == (set(), set())
    assert found.is_right
    assert found.refresh.requests == 4
    assert 0 < found.costs.removed < found.costs.before


def test_rows_by_the_thousand(tmp_path: Path) -> None:
    """Every row and the exact total, from another process, while its memory is measured."""
    with rows.server() as base_url:
        figures = rows.synced(base_url, str(tmp_path / "costs"), 40_000)
    assert figures.rows == 40_000
    assert figures.peak_mb > 0
