"""Syncs that are killed, or run twice at once; `benchmarks.claims.kills` kills a hundred."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.claims.kills import Server, command, kill_times, outcome, server, wrong_with


@pytest.fixture
def served(shared: Path) -> Iterator[Server]:
    """Server of a real bill, in a process of its own."""
    with server(sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))) as started:
        yield started


def test_kill_9_costs_nothing_but_requests(served: Server, tmp_path: Path) -> None:
    """Killed syncs end in the same table as an undisturbed one, within a bound of requests."""
    undisturbed = outcome(served, str(tmp_path / "undisturbed"), [])
    for seed in (101, 102):
        killed = outcome(served, str(tmp_path / str(seed)), kill_times(seed))
        assert killed.kills > 0
        assert wrong_with(killed, undisturbed) == []


def test_two_processes_leave_a_correct_table(served: Server, tmp_path: Path) -> None:
    """A sync completes or fails with 'run again'; after another sync the table is correct."""
    table = str(tmp_path / "both")
    both = [
        subprocess.Popen(  # noqa: S603  this checkout's own code
            command("sync", served.base_url, table), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[1] for process in both]
    for process, errors in zip(both, outputs, strict=True):
        assert process.returncode == 0 or "run again" in errors.splitlines()[-1]
    undisturbed = outcome(served, str(tmp_path / "undisturbed"), [])
    assert outcome(served, table, []).rows == undisturbed.rows


def test_an_error_names_the_missing_extra(tmp_path: Path) -> None:
    """The import and the command raise an error with the command to install the extra."""
    hidden = "import sys; sys.modules['deltalake'] = None; "
    words = "['costs', 'show', '--table', 't']"
    for code in (
        "import spot_billing_async.table",
        f"from spot_billing_async.cli.app import run; sys.exit(run({words}))",
    ):
        done = subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-c", hidden + code],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode != 0
        assert "pip install '.[table]'" in done.stderr.splitlines()[-1]
