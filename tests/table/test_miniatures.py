"""Small runs of the claims in `benchmarks`: wrong responses, restatements, many rows."""

from pathlib import Path

from benchmarks.claims import refresh, rows
from benchmarks.claims.lies import CAUGHT, LIES, measured


async def test_wrong_responses_are_detected_without_false_alarms() -> None:
    """A wrong response is requested again, fails, or is reported; correct ones raise no alarm."""
    verdicts, alarms = await measured(lies=3, clean_runs=6)
    assert set(verdicts) == set(LIES)
    for counts in verdicts.values():
        assert sum(counts[verdict] for verdict in CAUGHT) == counts.total() == 3
    assert alarms == []


def test_a_refresh_finds_exactly_the_restatements(shared: Path, tmp_path: Path) -> None:
    """Every restatement is found by account and day, with one request for each account."""
    bills = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    found = refresh.measured(bills, 4, tmp_path, by_day=False)
    assert len(found.restated) == 2
    assert (found.missed, found.invented) == (set(), set())
    assert found.is_right
    assert found.refresh.requests == 4
    assert 0 < found.costs.removed < found.costs.before


def test_many_rows_are_synced(tmp_path: Path) -> None:
    """Another process stores every row, and its peak memory is measured."""
    with rows.server() as base_url:
        figures = rows.synced(base_url, str(tmp_path / "costs"), 40_000)
    assert figures.rows == 40_000
    assert figures.peak_mb > 0
