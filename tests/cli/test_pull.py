"""`costs pull`: file and report agree exactly, however the pull ends."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from spot_billing_async.emulator import Emulator

Call = Callable[..., tuple[int, str, str]]
Cli = Callable[..., subprocess.CompletedProcess[str]]

JANUARY = ("--from", "2024-01-01", "--to", "2024-01-31")
TWO_YEARS = ("--from", "2024-01-01", "--to", "2025-12-31")
COUNTS = ("ok", "empty", "failed", "cancelled", "not_started")


def report_in(folder: Path) -> dict[str, Any]:
    """Read the report, and check that its counts add up."""
    report: dict[str, Any] = json.loads((folder / "r.json").read_text())
    assert sum(report[name] for name in COUNTS) == report["planned"]
    missing = report["failed"] + report["cancelled"] + report["not_started"]
    assert len(report["failures"]) == missing
    return report


def slices_in(path: Path) -> tuple[int, int, dict[str, Decimal]]:
    """Count slices, rows and totals of a JSON-lines file, without this package."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    totals: dict[str, Decimal] = {}
    for row in rows:
        totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + Decimal(row["cost"])
    return len({(row["query_account_id"], row["query_from"]) for row in rows}), len(rows), totals


def assert_file_and_report_agree(folder: Path) -> None:
    """Check that the file has the slices, rows and totals of the report, and is alone with it."""
    report = report_in(folder)
    totals = {code: Decimal(total) for code, total in report["totals"].items()}
    assert slices_in(folder / "x.jsonl") == (report["ok"], report["rows"], totals)
    assert {path.name for path in folder.iterdir()} - {"home"} == {"x.jsonl", "r.json"}


@asynccontextmanager
async def pulling(
    server: Emulator, environment: dict[str, str], folder: Path, *words: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a pull as a process; yield it once the emulator has received 100 requests."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "spot_billing_async.cli", "costs", "pull", "--all-accounts"),
        *words,
        cwd=folder,
        env=environment | {"SPOTINST_BASE_URL": server.base_url, "SPOTINST_TOKEN": server.token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    while server.requests < 100:
        assert process.returncode is None
        await asyncio.sleep(0.005)
    yield process


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_link_of_another_user_is_refused(
    call: Call, tmp_path: Path, give_away: Callable[[Path], None], option: str
) -> None:
    """Neither rows nor report are written through a link of another user."""
    own, link = tmp_path / "own.jsonl", tmp_path / "link.jsonl"
    own.write_text("mine")
    link.symlink_to(own)
    give_away(link)
    words = ("costs", "pull", "--account", "011254002932", *JANUARY, option, "link.jsonl")
    code, _, errors = call(*words)
    assert code == 2
    assert "link.jsonl is a link of another user" in errors
    assert own.read_text() == "mine"


def test_all_accounts_into_parquet(call: Call, tmp_path: Path) -> None:
    """The Parquet file sums up to the total of the report; nothing is printed."""
    words = ("costs", "pull", "--all-accounts", *JANUARY, "--window", "week")
    assert call(*words, "--out", "x.parquet", "--report", "r.json") == (0, "", "")
    report = report_in(tmp_path)
    assert (report["planned"], report["failures"]) == (24 * 5, [])
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.num_rows == report["rows"]
    for currency, total in report["totals"].items():
        costs = table.filter(pc.equal(table["currency"], currency))["cost"]
        assert pc.sum(costs).as_py() == Decimal(total)


def test_totals_do_not_depend_on_window_and_dimension(call: Call, tmp_path: Path) -> None:
    """The total is the same for every window and every dimension."""
    totals = []
    words = ("--account", "011254002932", "spot-sample-01", *JANUARY, "--out", "x.csv")
    cuts = {"day": "account", "10": "region", "quarter": "family", "whole": "none"}
    for window, dimension in cuts.items():
        options = ("--window", window, "--group-by", dimension, "--report", "r.json")
        assert call("costs", "pull", *words, *options) == (0, "", "")
        totals.append(report_in(tmp_path)["totals"])
    assert totals == totals[:1] * len(cuts)


def test_rows_go_to_standard_output(call: Call) -> None:
    """Without --out, rows are JSON lines on standard output, and a summary is on standard error."""
    code, out, err = call("costs", "pull", "--account", "011254002932", *JANUARY)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert rows[0]["query_account_id"] == "011254002932"
    assert err.startswith(f"1 slice: 1 ok; {len(rows)} rows, total USD ")


def test_a_failed_pull_keeps_the_earlier_file(call: Call, tmp_path: Path) -> None:
    """If every slice fails, the file of an earlier pull stays unchanged."""
    (tmp_path / "x.csv").write_text("earlier")
    code, _, err = call("costs", "pull", "--account", "nobody", *JANUARY, "--out", "x.csv")
    assert code == 3
    assert err.startswith("1 slice: 1 failed; 0 rows, total none in ")
    assert (tmp_path / "x.csv").read_text() == "earlier"


def test_out_dash_is_standard_output(call: Call) -> None:
    """`--out -` is the same as no `--out`."""
    words = ("costs", "pull", "--account", "011254002932", *JANUARY)
    code, out, _ = call(*words, "--out", "-")
    assert code == 0
    assert out.count("\n") == call(*words)[1].count("\n") > 0


def test_a_missing_slice_is_code_3(call: Call, tmp_path: Path) -> None:
    """Fetched slices are written; the report lists the others with status and request id."""
    words = ("--account", "nobody", "--account", "011254002932", *JANUARY)
    files = ("--out", "x.jsonl", "--report", "r.json")
    code, out, err = call("costs", "pull", *words, *files)
    assert (code, out) == (3, "")
    assert err.startswith("2 slices: 1 ok, 1 failed; ")
    (failure,) = report_in(tmp_path)["failures"]
    assert failure["request_id"]
    assert {**failure, "request_id": "", "error": ""} == {
        "account_id": "nobody",
        "from_date": "2024-01-01",
        "to_date": "2024-01-31",
        "error": "",
        "status": 404,
        "request_id": "",
    }
    assert "NotFoundError" in failure["error"]
    assert_file_and_report_agree(tmp_path)
    code, _, err = call("costs", "pull", *words)
    assert (code, err.count("\n")) == (3, 2)
    assert "missing: nobody 2024-01-01 to 2024-01-31: NotFoundError" in err


@pytest.mark.parametrize(
    "words",
    [
        (*JANUARY,),
        (*JANUARY, "--all-accounts", "--account", "a"),
        ("--from", "2024-02-01", "--to", "2024-01-01", "--all-accounts"),
        (*JANUARY, "--all-accounts", "--window", "fortnight"),
        (*JANUARY, "--all-accounts", "--window", "0"),
        (*JANUARY, "--all-accounts", "--deadline", "0"),
        (*JANUARY, "--account", ""),
        (*JANUARY, "--all-accounts", "--out", "x.xlsx"),
        (*JANUARY, "--all-accounts", "--out", "missing/x.csv"),
        (*JANUARY, "--all-accounts", "--out", "x.csv", "--report", "missing/r.json"),
        (*JANUARY, "--all-accounts", "--out", "x.csv", "--report", "./x.csv"),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Wrong arguments give exit code 2 and one line, without a connection or a file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("SPOTINST_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        code, out, err = call("costs", "pull", *words)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (code, out, err.startswith("error: "), err.count("\n")) == (2, "", True, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
async def test_a_signal_ends_a_pull_in_order(
    emulator: Emulator,
    environment: dict[str, str],
    tmp_path: Path,
    signum: signal.Signals,
    code: int,
) -> None:
    """Fetched slices are in the file, the report lists the others, and no error is printed."""
    words = (*TWO_YEARS, "--window", "day", "--out", "x.jsonl", "--report", "r.json")
    async with pulling(emulator, environment, tmp_path, *words) as process:
        process.send_signal(signum)
        out, err = await process.communicate()
    assert (process.returncode, out) == (code, b"")
    assert err.count(b"\n") == 2
    assert b"not started" in err
    report = report_in(tmp_path)
    assert report["ok"] > 0
    assert report["not_started"] > 0
    assert {failure["error"] for failure in report["failures"]} == {"cancelled", "not started"}
    assert_file_and_report_agree(tmp_path)


async def test_a_server_that_goes_away_fails_the_rest(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A server that stops half way gives exit code 3 at the deadline; file and report agree."""
    words = (*TWO_YEARS, "--window", "quarter", "--out", "x.jsonl", "--report", "r.json")
    async with (
        Emulator(token="t", latency="20ms") as server,
        pulling(server, environment, tmp_path, *words, "--deadline", "3") as process,
    ):
        await server.__aexit__(None, None, None)
        _, stderr = await process.communicate()
    assert process.returncode == 3
    assert stderr.startswith(b"the API is unavailable, next try in ")
    assert b"\n192 slices: " in stderr
    report = report_in(tmp_path)
    assert (report["planned"], report["cancelled"], report["not_started"]) == (192, 0, 0)
    assert report["ok"] > 0
    assert report["failed"] > 0
    assert_file_and_report_agree(tmp_path)


async def test_a_closed_pipe_ends_the_pull_silently(
    emulator: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    """A closed pipe, as of `| head`, ends the pull silently and without a report."""
    words = (*TWO_YEARS, "--window", "day", "--report", "r.json")
    async with pulling(emulator, environment, tmp_path, *words) as process:
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]  # the reader's end
        assert process.stderr is not None
        assert await process.stderr.read() == b""
        assert await process.wait() == 1
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_leaves_the_earlier_file(
    emulator: Emulator, environment: dict[str, str], tmp_path: Path
) -> None:
    """A full disk gives one error line; the earlier file stays, and no report is written."""
    (tmp_path / "x.csv").write_text("earlier")
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", 'ulimit -f 64; exec "$@"', "sh"),
        *(sys.executable, "-m", "spot_billing_async.cli", "costs", "pull", "--all-accounts"),
        *(*JANUARY, "--out", "x.csv", "--report", "r.json"),
        cwd=tmp_path,
        env=environment
        | {"SPOTINST_BASE_URL": emulator.base_url, "SPOTINST_TOKEN": emulator.token},
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (1, b"error: x.csv: File too large\n")
    assert (tmp_path / "x.csv").read_text() == "earlier"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


async def test_a_signal_before_the_run_leaves_everything_as_it_was(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A signal during the listing of accounts keeps the earlier file, and no report is written."""
    (tmp_path / "x.csv").write_text("earlier")
    async with Emulator(token="t", latency="3600s") as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "spot_billing_async.cli", "costs", "pull", "--all-accounts"),
            *(*JANUARY, "--out", "x.csv", "--report", "r.json"),
            cwd=tmp_path,
            env=environment | {"SPOTINST_BASE_URL": server.base_url, "SPOTINST_TOKEN": "t"},
            stderr=asyncio.subprocess.PIPE,
        )
        while not server.requests:  # noqa: ASYNC110  the process cannot set an event
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
    assert (process.returncode, stderr) == (130, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "earlier"


def test_the_real_bill_is_exact(
    cli: Cli, environment: dict[str, str], shared: Path, tmp_path: Path
) -> None:
    """Two months of a real bill have their known totals, to the last decimal."""
    data = shared / "data" / "aws-workshop-2018"
    exports = [str(data / f"aws_focus_2018-{month}.csv.gz") for month in (10, 11)]
    with subprocess.Popen(  # noqa: S603  this interpreter
        [
            *(sys.executable, "-m", "spot_billing_async.cli", "emulator", "--port", "0"),
            *("--focus", *exports),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        next(server.stdout)
        variables = dict(next(server.stdout).split()[1].split("=", 1) for _ in range(2))
        done = cli(
            *("costs", "pull", "--all-accounts", "--from", "2018-10-01", "--to", "2018-11-30"),
            *("--window", "day", "--out", "x.parquet", "--report", "r.json"),
            **variables,
        )
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
    assert done.returncode == 0, done.stderr
    assert report_in(tmp_path)["totals"] == {"USD": "7569.8100996647"}
    table = pq.read_table(tmp_path / "x.parquet")
    assert pc.sum(table["cost"]).as_py() == Decimal("7569.8100996647")
