"""`costs sync` and `costs show`: requests, output and exit codes."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from spot_billing_async import ConfigError
from spot_billing_async.cli.sparkline import mean_per_bar, ranked_totals, sparkline
from spot_billing_async.cli.sync_output import change_records, first_records
from spot_billing_async.emulator import Emulator
from spot_billing_async.table import Change, DaySum, day_sums
from spot_billing_async.table.query import chosen_breakdown
from tests.table.conftest import rows_of

Call = Callable[..., tuple[int, str, str]]

ACCOUNT = ("--account", "011254002932")
YEARS = ("--from", "2024-01-01", "--to", "2025-12-31")
QUARTER = ("--from", "2025-10-01", "--to", "2025-12-31")
WORDS = ("costs", "sync", "--table", "t", *YEARS)
ALL_WORDS = ("costs", "sync", "--table", "t", *QUARTER, "--all-accounts")


def rows(path: Path) -> list[dict[str, Any]]:
    return rows_of(str(path))


def test_all_accounts_are_synced(call: Call, tmp_path: Path) -> None:
    """A sync has the totals of a pull, with one request for each account; a second one has none."""
    code, out, err = call(*ALL_WORDS)
    assert (code, err) == (0, "")
    days = 24 * 92
    assert f"{days:,} account-days: {days:,} new; 24 requests" in out
    words = ("costs", "pull", "--all-accounts", *QUARTER, "--out", "p.jsonl", "--report", "r.json")
    assert call(*words)[0] == 0
    totals: dict[str, Decimal] = {}
    for row in rows(tmp_path / "t"):
        totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + row["cost"]
    pulled = json.loads((tmp_path / "r.json").read_text())["totals"]
    assert {code: Decimal(total) for code, total in pulled.items()} == totals
    code, out, _ = call(*ALL_WORDS)
    assert (code, "0 requests" in out, f"{days:,} already in the table" in out) == (0, True, True)


def test_a_dry_run_prints_the_number_of_requests(call: Call, tmp_path: Path) -> None:
    """A dry run prints the requests and account-days of a sync, and creates no file."""
    code, out, _ = call(*WORDS, *ACCOUNT, "--window", "month", "--dry-run")
    assert code == 0
    assert out.startswith(
        "24 requests for 731 account-days; 0 already in the table; rate limit not known"
    )
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_first_dry_run_is_a_lower_bound(call: Call) -> None:
    """Before the first sync the number is a lower bound: the server may refuse wide windows."""
    _, out, _ = call(*WORDS, *ACCOUNT, "--dry-run")
    assert out.startswith("at least 1 request for 731 account-days; 0 already in the table; ")
    one = ("--from", "2024-01-01", "--to", "2024-01-01")
    call("costs", "sync", "--table", "t", *ACCOUNT, *one)
    _, out, _ = call(*WORDS, *ACCOUNT, "--dry-run")
    assert out.startswith("1 request for 730 account-days; 1 already in the table; ")


def test_the_table_is_checked_before_a_request(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad folder is reported before the list of accounts is requested: no server is there."""
    monkeypatch.setenv("SPOTINST_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "notes").touch()
    for words in (("--all-accounts",), ACCOUNT, ("--all-accounts", "--dry-run")):
        code, out, err = call(*WORDS, *words)
        assert (code, out, "with other content" in err) == (2, "", True)
    code, out, err = call("costs", "sync", "--table", "p/br[1]", *YEARS, "--all-accounts")
    assert (code, out, err.count("\n"), "with '[' ']'" in err) == (2, "", 1, True)


def test_days_not_started_are_code_3(call: Call) -> None:
    """`--max-requests` leaves the other days to the next run."""
    cap = ("--window", "month", "--max-requests", "3")
    code, out, err = call(*WORDS, *ACCOUNT, *cap)
    assert (code, "91 new, 640 not started; 3 requests" in out) == (3, True)
    assert "; total so far USD " in out
    assert err == "not started: 640 account-days; run the command again to continue\n"
    code, out, _ = call(*WORDS, *ACCOUNT)
    assert (code, "91 already in the table, 640 new; 1 request, " in out) == (0, True)


def test_failed_days_are_code_3(call: Call) -> None:
    """Standard error names account, days and error; the other account is complete."""
    code, out, err = call(*WORDS, *ACCOUNT, "--account", "nobody")
    assert (code, "731 new, 731 failed" in out) == (3, True)
    assert err.startswith("missing: nobody 2024-01-01 to 2025-12-31: NotFoundError: ")
    assert err.endswith(" (run 'spot-billing accounts list' to see the accounts)\n")
    assert err.count("\n") == 1


def test_many_failures_are_counted(call: Call) -> None:
    """The first five failures are printed, and the number of the others."""
    unknown = [f"nobody-{n}" for n in range(8)]
    code, _, err = call(*WORDS, "--account", *unknown, "--window", "whole", "--reconcile")
    assert code == 3
    lines = err.splitlines()
    # Missing days are not reconciled: only days that the table has are compared.
    assert [line.split(":")[0] for line in lines] == ["missing"] * 6
    assert lines[5] == "missing: 3 more"


def test_a_used_up_request_limit_is_one_line(call: Call) -> None:
    """One line counts all accounts that `--max-requests` left unreconciled."""
    cap = ("--window", "whole", "--max-requests", "24", "--reconcile")
    code, out, err = call(*ALL_WORDS, *cap)
    assert (code, "reconciled" in out) == (3, False)
    assert err == "not reconciled: 24 accounts; --max-requests is used up\n"


def test_long_tables_are_cut() -> None:
    """Twenty records are printed, and the number of the others."""
    changes = tuple(
        Change(
            account_id="a",
            from_date=date(2024, 1, 1),
            to_date=date(2024, 1, 1),
            currency="USD",
            old_total=Decimal(0),
            new_total=Decimal(n),
        )
        for n in range(1020)
    )
    records, rest = first_records(changes, change_records)
    assert (len(records), rest) == (20, "… and 1,000 more")
    assert first_records(changes[:20], change_records)[1] is None


def test_reconciling_prints_the_number_of_accounts(call: Call) -> None:
    """Reconciling without a difference prints how many accounts were compared."""
    code, out, err = call(*WORDS, *ACCOUNT, "--reconcile")
    assert (code, out.splitlines()[-1], err) == (0, "1 account reconciled, no differences", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--from", "2024-01-02", "--to", "2024-01-01", *ACCOUNT),
            "--from must be on or before --to 2024-01-01, got 2024-01-02",
        ),
        ((*YEARS, *ACCOUNT, "--mutable-days", "0"), "--mutable-days must be "),
        ((*YEARS, *ACCOUNT, "--max-requests", "0"), "--max-requests must be "),
        ((*YEARS, *ACCOUNT, "--window", "fortnight"), "--window must be one of "),
        ((*YEARS, "--account", ""), "--account must be a non-empty string"),
        (YEARS, "exactly one of --account and --all-accounts"),
    ],
    ids=str,
)
def test_errors_name_options(call: Call, words: tuple[str, ...], message: str) -> None:
    """Errors name options, not arguments of the library; quoted text stays unchanged."""
    code, _, err = call("costs", "sync", "--table", "from_date", *words)
    assert (code, err.startswith(f"error: {message}")) == (2, True)
    assert (
        "error: --table must be an existing table that sync created, got 'from_date'"
        in call("costs", "show", "--table", "from_date")[2]
    )


def test_restatements_are_printed(call: Call, tmp_path: Path) -> None:
    """A restated day is printed with its old total, its new total and the difference."""
    future = ("costs", "sync", "--table", "t", *ACCOUNT, "--mutable-days", "9999", *YEARS)
    assert call(*future)[0] == 0
    ledger = DeltaTable(str(tmp_path / "t_ledger"))
    ledger.update(
        predicate="from_date = DATE '2025-12-30'",
        updates={"digest": "'x'", "totals": "map(['USD'], [arrow_cast(1, 'Decimal128(38, 18)')])"},
    )
    code, out, _ = call(*future)
    assert code == 0
    assert "1 restated, 730 unchanged" in out
    (line,) = [line for line in out.splitlines() if "2025-12-30" in line]
    _, account, day, currency, old, new, difference, _ = (c.strip() for c in line.split("│"))
    assert (account, day, currency, old) == ("011254002932", "2025-12-30", "USD", "1")
    assert Decimal(new) - Decimal(old) == Decimal(difference)


def test_a_difference_is_code_3(call: Call, tmp_path: Path) -> None:
    """Reconciling finds a row that the table has lost; exit code 3."""
    assert call(*WORDS, *ACCOUNT, "--reconcile")[0] == 0
    DeltaTable(str(tmp_path / "t")).delete("date = DATE '2024-02-29' AND cost > 0")
    code, out, _ = call(*WORDS, *ACCOUNT, "--reconcile")
    assert code == 3
    assert "Differences from the API" in out
    assert out.splitlines()[-1] == "1 account reconciled, 1 with differences"
    assert out.count("2024-02-29") == 1


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all-accounts", *ACCOUNT),
        (*ACCOUNT, "--window", "fortnight"),
        (*ACCOUNT, "--mutable-days", "0"),
        (*ACCOUNT, "--max-requests", "0"),
        (*ACCOUNT, "--table", ""),
        ("--account", ""),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_a_file_is_made(
    call: Call, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Wrong arguments give exit code 2 and one line, and no file."""
    code, out, err = call(*WORDS, *words)
    assert (code, out, err.startswith("error: "), err.count("\n")) == (2, "", True, 1)
    assert list(tmp_path.iterdir()) == []


async def test_ctrl_c_keeps_committed_days(environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C gives exit code 130 and one line; the next run fetches only the other days."""
    async with Emulator(token="t", latency="20ms") as server:
        variables = {"SPOTINST_BASE_URL": server.base_url, "SPOTINST_TOKEN": "t"}

        async def started() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "spot_billing_async.cli", *WORDS, *ACCOUNT),
                *("--window", "day"),
                cwd=tmp_path,
                env=environment | variables,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )

        process = await started()
        while server.requests < 200:
            assert process.returncode is None
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        assert (process.returncode, out) == (130, b"")
        assert err == b"interrupted: committed days are kept; run the command again to continue\n"
        kept, requests = len(rows(tmp_path / "t_ledger")), server.requests
        assert kept > 0
        process = await started()
        assert (await process.communicate())[1] == b""
        assert process.returncode == 0
        assert server.requests - requests == 731 - kept


def test_a_table_is_shown(call: Call, tmp_path: Path) -> None:
    """`costs show` prints exact totals, highest first; `--by` and `--since` select others."""
    call(*WORDS, *ACCOUNT)
    code, out, _ = call("costs", "show", "--table", "t", "--format", "table")
    lines = [[cell.strip() for cell in row.split("│")[1:-1]] for row in out.splitlines()]
    names, costs, *_ = zip(*[line for line in lines if line], strict=True)
    synced = rows(tmp_path / "t")
    for name, cost in zip(names, costs, strict=True):
        own = [row["cost"] for row in synced if row["service"] == name]
        assert sum(own, Decimal(0)) == Decimal(cost)
    assert [Decimal(cost) for cost in costs] == sorted(map(Decimal, costs), reverse=True)
    assert set(names) == {row["service"] for row in synced}
    code, out, _ = call("costs", "show", "--table", "t", "--by", "account", "--since", "2025-12-31")
    recent = sum((row["cost"] for row in synced if row["date"] == date(2025, 12, 31)), Decimal(0))
    assert code == 0
    assert format(recent.normalize(), "f") in out


def test_a_missing_table_or_breakdown_is_an_error(call: Call) -> None:
    """A missing table and a breakdown that the table lacks are errors with exit code 2."""
    code, _, err = call("costs", "show", "--table", "t")
    assert (code, err) == (
        2,
        "error: --table must be an existing table that sync created, got 't'\n",
    )
    call(*WORDS, *ACCOUNT)
    with pytest.raises(ConfigError, match=r"by must be one of .* or None, got 'team'"):
        asyncio.run(day_sums("t", "team"))  # type: ignore[arg-type]  # what is tested
    code, _, err = call("costs", "show", "--table", "t", "--by", "region")
    assert (code, "--by must be one of 'account', 'service', got 'region'" in err) == (2, True)


def test_only_one_breakdown_is_summed() -> None:
    """Each breakdown has all costs, so only one is summed; an ambiguous choice is an error."""
    assert chosen_breakdown(None, {"service": 1}) == "service"
    assert chosen_breakdown("region", {"service": 2, "region": 1}) == "region"
    assert chosen_breakdown(None, {None: 1}) is None
    assert chosen_breakdown("account", {}) == "account"
    for by, there in ((None, {"service": 1, None: 1}), ("family", {"service": 1})):
        with pytest.raises(ConfigError, match="by must be one of 'account'"):
            chosen_breakdown(by, there)  # type: ignore[arg-type]  # of literals


def test_by_account_uses_the_breakdown_with_most_days() -> None:
    """`--by account` takes the breakdown with most days; ties go to the coarser, then by name."""
    assert chosen_breakdown("account", {"region": 7, "service": 61}) == "service"
    assert chosen_breakdown("account", {"service": 61, "region": 61}) == "region"
    assert chosen_breakdown("account", {"region": 61, "account": 61}) == "account"
    assert chosen_breakdown("account", {"account": 61, None: 61}) is None
    assert chosen_breakdown("account", {"account": 60, "service": 61}) == "service"


def test_a_breakdown_of_few_days_hides_no_costs(call: Call, tmp_path: Path) -> None:
    """`--by account` sums the breakdown that covers most, and the last line names it."""
    call(*WORDS, *ACCOUNT)
    week = ("--from", "2024-02-01", "--to", "2024-02-07", "--group-by", "region")
    call("costs", "sync", "--table", "t", *ACCOUNT, *week)
    whole = sum((r["cost"] for r in rows(tmp_path / "t") if r["group_by"] == "service"), Decimal(0))
    code, out, err = call("costs", "show", "--table", "t", "--by", "account")
    assert (code, Decimal(json.loads(out)[0]["cost"])) == (0, whole)
    assert err == (
        f"total USD {format(whole.normalize(), 'f')}; by service, 1 account, "
        "2024-01-01 to 2025-12-31\n"
    )
    code, out, _ = call("costs", "show", "--table", "t", "--by", "region", "--format", "table")
    last = out.splitlines()[-1]
    assert (code, last.split("; ")[1]) == (
        0,
        "by region, 1 account, 2024-02-01 to 2024-02-07",
    )
    code, out, err = call("costs", "show", "--table", "t")
    assert (code, out) == (2, "")
    assert "got None: the table has the breakdowns region, service" in err


def test_missing_days_are_counted(call: Call) -> None:
    """The last line counts the days of a range with a gap; days before `--since` do not count."""
    for day in ("2024-01-01", "2024-01-03"):
        call("costs", "sync", "--table", "t", *ACCOUNT, "--from", day, "--to", day)
    _, _, err = call("costs", "show", "--table", "t")
    assert "2024-01-01 to 2024-01-03 (only 2 of 3 account-days present)" in err
    _, _, err = call("costs", "show", "--table", "t", "--since", "2024-01-02")
    assert "2024-01-03 to 2024-01-03\n" in err


def test_a_table_without_rows_says_so(call: Call) -> None:
    """A table without rows prints 'no rows' and its coverage; JSON is an empty list."""
    none = ("--account", "011254002932", "--from", "2031-01-01", "--to", "2031-01-02")
    call("costs", "sync", "--table", "t", *none)
    words = ("costs", "show", "--table", "t", "--format")
    coverage = "no rows; by service, 1 account, 2031-01-01 to 2031-01-02\n"
    assert call(*words, "table") == (0, coverage, "")
    assert call(*words, "json") == (0, "[]\n", coverage)
    assert call(*words, "csv")[1] == "name,cost,currency,days\r\n"
    assert call(*words, "table", "--since", "2032-01-01") == (0, "no rows since 2032-01-01\n", "")


def test_a_sparkline_is_drawn_to_scale() -> None:
    """Bars are scaled from the lowest amount or zero to the highest; equal amounts are flat."""
    assert sparkline([Decimal(n) for n in range(8)]) == "▁▂▃▄▅▆▇█"
    assert sparkline([Decimal(-7), Decimal(0)]) == "▁█"
    assert sparkline([Decimal(0)] * 3) == "▁▁▁"
    days = {date(2024, 1, 1) + timedelta(days=n): Decimal(1) for n in range(731)}
    means = mean_per_bar(days, min(days), max(days))
    assert (len(means) <= 60, set(means)) == (True, {Decimal(1)})


def test_costs_without_a_day_have_no_sparkline() -> None:
    """Costs without a day have a total but no sparkline; a missing name is printed as '(none)'."""
    (line,) = ranked_totals([DaySum(None, None, "USD", Decimal("1.50"))])
    assert line == {"name": "(none)", "cost": "1.5", "currency": "USD", "days": 0, "by day": ""}
