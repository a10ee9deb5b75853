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
    Result,
    command,
    emulator_server,
    kill_times,
    problems_of,
    sync_with_kills,
)
from tests.support_real_bill import real_bill_files


@pytest.fixture(scope="module")
def served() -> Iterator[EmulatorServer]:
    """Run an emulator of the real bill in its own process."""
    if not (bills := real_bill_files()):
        pytest.skip("the real bill is not beside this checkout")
    with emulator_server(bills) as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(served: EmulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Sync a table without a kill."""
    return sync_with_kills(served, str(tmp_path_factory.mktemp("undisturbed") / "costs"), [])


def test_kill_9_costs_requests_only(
    served: EmulatorServer, undisturbed: Result, tmp_path: Path
) -> None:
    """A table whose syncs are killed ends as an undisturbed one, within the bound of requests."""
    killed = sync_with_kills(served, str(tmp_path / "killed"), kill_times(101))
    assert killed.kills > 0
    assert problems_of(killed, undisturbed) == []


def test_two_concurrent_syncs_end_with_a_correct_table(
    served: EmulatorServer, undisturbed: Result, tmp_path: Path
) -> None:
    """Each sync succeeds, or its error says to run it again; the next one has every row."""
    table = str(tmp_path / "both")
    both = [
        subprocess.Popen(  # noqa: S603  this checkout's own code
            command("sync", served.base_url, table), stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    stderrs = [process.communicate(timeout=60)[1] for process in both]
    for process, stderr in zip(both, stderrs, strict=True):
        assert process.returncode == 0 or "run again" in stderr.splitlines()[-1]
    assert sync_with_kills(served, table, []).rows == undisturbed.rows


def test_without_the_extra_an_error_names_it(tmp_path: Path) -> None:
    """The import of the table, and a command that needs it, name the extra to install."""
    code = (
        "import sys; sys.modules[sys.argv[1]] = None\n"
        "from spot_billing_async.cli.app import run\n"
        "assert run(['costs', 'show', '--table', 't']) == 2\n"
        "import spot_billing_async.table"
    )
    for missing in ("deltalake", "pyarrow"):
        done = subprocess.run(  # noqa: S603  this interpreter
            [sys.executable, "-c", code, missing],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode != 0
        lines = done.stderr.splitlines()
        assert ["pip install '.[table]'" in line for line in (lines[0], lines[-1])] == [True] * 2
