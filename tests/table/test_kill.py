"""Killed and run again: `benchmarks.table` does it a hundred times."""

from pathlib import Path

from benchmarks.table import kill_times, outcome, server, wrong_with


def test_kill_9_costs_nothing_but_requests(shared: Path, tmp_path: Path) -> None:
    """A table whose syncs are killed ends as an undisturbed one, within the bound of requests."""
    bills = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    with server(bills) as served:
        undisturbed = outcome(served, str(tmp_path / "undisturbed"), [])
        for seed in (101, 102):
            killed = outcome(served, str(tmp_path / str(seed)), kill_times(seed))
            assert killed.kills > 0
            assert wrong_with(killed, undisturbed) == []
