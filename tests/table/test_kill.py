"""Syncs that are killed and run again, and syncs that run at the same time.

`tests/soak` kills a hundred.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.soak.kills import (
    EmulatorServer,
    command,
    emulator_server,
    kill_times,
    problems_of,
    sync_with_kills,
)


@pytest.fixture
def served(shared: Path) -> Iterator[EmulatorServer]:
    """The real bill, served by a process of its own."""
    with emulator_server(sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))) as started:
        yield started


def test_kill_9_costs_nothing_but_requests(served: EmulatorServer, tmp_path: Path) -> None:
    """A table whose syncs are killed ends as an undisturbed one, within the bound of requests."""
    undisturbed = sync_with_kills(served, str(tmp_path / "undisturbed"), [])
    for seed in (101, 102):
        killed = sync_with_kills(served, str(tmp_path / str(seed)), kill_times(seed))
        assert killed.kills > 0
        assert problems_of(killed, undisturbed) == []


def test_two_processes_end_in_one_right_table(served: EmulatorServer, tmp_path: Path) -> None:
    """Each is done, or its error says what to do; after a run alone nothing is wrong."""
    table = str(tmp_path / "both")
    both = [
        subprocess.Popen(  # noqa: S603  this checkout's own code
            command("sync", served.base_url, table), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[1] for process in both]
    for process, errors in zip(both, told, strict=True):
        assert process.returncode == 0 or "run again" in errors.splitlines()[-1]
    undisturbed = sync_with_kills(served, str(tmp_path / "undisturbed"), [])
    assert sync_with_kills(served, table, []).rows == undisturbed.rows


def test_without_the_extra_an_error_names_it(tmp_path: Path) -> None:
    """Importing the table, and the command that needs it, say what to install."""
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
        assert "pip install 'spot-billing-async[table]'" in done.stderr.splitlines()[-1]
