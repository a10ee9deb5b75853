"""`costs sync` and `costs show`: a table in step, and what it comes to."""

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
from spot_billing_async.cli.sparkline import bars, ranking, spread
from spot_billing_async.cli.sync_output import change_records, first_records
from spot_billing_async.emulator import Emulator
from spot_billing_async.table import Change, DaySum, day_sums
from spot_billing_async.table.query import chosen_breakdown
from tests.table.conftest import rows_of

Call = Callable[..., tuple[int, str, str]]

ACCOUNT = ("--account", "011254002932")
YEARS = ("--from", "2024-01-01", "--to", "2025-12-31")
WORDS = ("costs", "sync", "--table", "t", *YEARS)


def rows(path: Path) -> list[dict[str, Any]]:
    return rows_of(str(path))


def test_all_accounts_into_a_table(call: Call, tmp_path: Path) -> None:
    """As many costs as a pull has, in a request an account; again, in none."""
    code, out, err = call(*WORDS, "--all-accounts")
    assert (code, err) == (0, "")
    days = 24 * 731
    assert f"{days:,} days of accounts: {days:,} new; 24 requests" in out
    words = ("costs", "pull", "--all-accounts", *YEARS, "--out", "p.jsonl", "--report", "r.json")
    assert call(*words)[0] == 0
    totals: dict[str, Decimal] = {}
    for row in rows(tmp_path / "t"):
        totals[row["currency"]] = totals.get(row["currency"], Decimal(0)) + row["cost"]
    told = json.loads((tmp_path / "r.json").read_text())["totals"]
    assert {code: Decimal(total) for code, total in told.items()} == totals
    code, out, _ = call(*WORDS, "--all-accounts")
    assert (code, "0 requests" in out, f"{days:,} there" in out) == (0, True, True)


def test_a_dry_run_makes_and_asks_nothing(call: Call, tmp_path: Path) -> None:
    """It tells what it would take."""
    code, out, _ = call(*WORDS, *ACCOUNT, "--window", "month", "--dry-run")
    assert code == 0
    assert out.startswith("24 requests for 731 days of accounts; 0 days are there; the server's")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_dry_run_knows_no_widths_at_first(call: Call) -> None:
    """Until the server has answered, it may bear less than all days: the number is a least."""
    _, out, _ = call(*WORDS, *ACCOUNT, "--dry-run")
    assert out.startswith("at least 1 request for 731 days of accounts; 0 days are there; ")
    one = ("--from", "2024-01-01", "--to", "2024-01-01")
    call("costs", "sync", "--table", "t", *ACCOUNT, *one)
    _, out, _ = call(*WORDS, *ACCOUNT, "--dry-run")
    assert out.startswith("1 request for 730 days of accounts; 1 day is there; ")


def test_a_place_is_looked_at_before_anything_is_asked(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even before the list of accounts: the server is not there, and the folder is what is told."""
    monkeypatch.setenv("SPOTINST_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "notes").touch()
    for words in (("--all-accounts",), ACCOUNT, ("--all-accounts", "--dry-run")):
        code, out, err = call(*WORDS, *words)
        assert (code, out, "holds something else than a table" in err) == (2, "", True)
    code, out, err = call("costs", "sync", "--table", "p/br[1]", *YEARS, "--all-accounts")
    assert (code, out, err.count("\n"), "'[' ']' in its path" in err) == (2, "", 1, True)


def test_what_is_not_started_is_code_3(call: Call) -> None:
    """After so many requests the rest is left for the next run."""
    cap = ("--window", "month", "--max-requests", "3")
    code, out, err = call(*WORDS, *ACCOUNT, *cap)
    assert (code, "91 new, 640 not started; 3 requests" in out) == (3, True)
    assert "; total so far USD " in out
    assert err == "not started: 640 days of accounts; run it again to go on\n"
    code, out, _ = call(*WORDS, *ACCOUNT)
    assert (code, "91 there, 640 new; 1 request, " in out) == (0, True)


def test_what_fails_is_code_3_and_named(call: Call) -> None:
    """Account, days and error stand on standard error; the other account is complete."""
    code, out, err = call(*WORDS, *ACCOUNT, "--account", "nobody")
    assert (code, "731 new, 731 failed" in out) == (3, True)
    assert err.startswith("missing: nobody 2024-01-01 to 2025-12-31: NotFoundError: ")
    assert err.endswith(" (spot-billing accounts list tells which accounts there are)\n")
    assert err.count("\n") == 1


def test_many_failures_are_counted(call: Call) -> None:
    """The first five are named; so is how many more there are."""
    nobodies = [f"nobody-{n}" for n in range(8)]
    code, _, err = call(*WORDS, "--account", *nobodies, "--window", "whole", "--reconcile")
    assert code == 3
    lines = err.splitlines()
    # What is missing is no difference: only days that the table has are compared.
    assert [line.split(":")[0] for line in lines] == ["missing"] * 6
    assert lines[5] == "missing: 3 more"


def test_requests_that_are_spent_are_told_once(call: Call) -> None:
    """However many accounts are left for another time."""
    cap = ("--window", "whole", "--max-requests", "24", "--reconcile")
    code, out, err = call(*WORDS, "--all-accounts", *cap)
    assert (code, "reconciled" in out) == (3, False)
    assert err == "not reconciled: 24 accounts, as --max-requests are spent\n"


def test_long_tables_are_cut() -> None:
    """Twenty lines are printed, and how many more there are; what is returned has them all."""
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


def test_what_was_compared_is_told(call: Call) -> None:
    """Silence is no proof: the number of accounts, and that none differs."""
    code, out, err = call(*WORDS, *ACCOUNT, "--reconcile")
    assert (code, out.splitlines()[-1], err) == (0, "1 account reconciled, none differs", "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("--from", "2024-01-02", "--to", "2024-01-01", *ACCOUNT),
            "--from must be on or before --to 2024-01-01, got 2024-01-02",
        ),
        ((*YEARS, *ACCOUNT, "--mutable-days", "0"), "--mutable-days must be "),
        ((*YEARS, *ACCOUNT, "--max-requests", "0"), "--max-requests must be "),
        ((*YEARS, *ACCOUNT, "--window", "fortnight"), "--window: "),
        ((*YEARS, "--account", ""), "--account must be a non-empty string"),
        (YEARS, "--account: exactly one of --account and --all-accounts"),
    ],
    ids=str,
)
def test_options_are_named_as_they_are_given(call: Call, words: tuple[str, ...], told: str) -> None:
    """Not as the library's arguments are; what stands in quotes is the user's own."""
    code, _, err = call("costs", "sync", "--table", "from_date", *words)
    assert (code, err.startswith(f"error: {told}")) == (2, True)
    assert (
        "error: --table: there is none at 'from_date'"
        in call("costs", "show", "--table", "from_date")[2]
    )


def test_restatements_are_printed(call: Call, tmp_path: Path) -> None:
    """A day of the mutable ones that is not what it was is told with old, new and difference."""
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
    """A row that the table lost is found by reconciling, and nothing is found before."""
    assert call(*WORDS, *ACCOUNT, "--reconcile")[0] == 0
    DeltaTable(str(tmp_path / "t")).delete("date = DATE '2024-02-29' AND cost > 0")
    code, out, _ = call(*WORDS, *ACCOUNT, "--reconcile")
    assert code == 3
    assert "Different from the API" in out
    assert out.splitlines()[-1] == "1 account reconciled, 1 differs"
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
def test_bad_input_is_refused_before_anything_is_made(
    call: Call, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Code 2 and one line."""
    code, out, err = call(*WORDS, *words)
    assert (code, out, err.startswith("error: "), err.count("\n")) == (2, "", True, 1)
    assert list(tmp_path.iterdir()) == []


async def test_ctrl_c_keeps_what_is_committed(environment: dict[str, str], tmp_path: Path) -> None:
    """Code 130, one line, and the next run asks for the rest alone."""
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
        assert err == b"interrupted: what was committed stays; run it again to go on\n"
        kept, asked = len(rows(tmp_path / "t_ledger")), server.requests
        assert kept > 0
        process = await started()
        assert (await process.communicate())[1] == b""
        assert process.returncode == 0
        assert server.requests - asked == 731 - kept


def test_a_table_is_shown(call: Call, tmp_path: Path) -> None:
    """What costs most first, exact, with a line of bars; by another column, and of recent days."""
    call(*WORDS, *ACCOUNT)
    code, out, _ = call("costs", "show", "--table", "t", "--format", "table")
    lines = [[cell.strip() for cell in row.split("│")[1:-1]] for row in out.splitlines()]
    names, costs, *_ = zip(*[line for line in lines if line], strict=True)
    met = rows(tmp_path / "t")
    for name, cost in zip(names, costs, strict=True):
        mine = [row["cost"] for row in met if row["service"] == name]
        assert sum(mine, Decimal(0)) == Decimal(cost)
    assert [Decimal(cost) for cost in costs] == sorted(map(Decimal, costs), reverse=True)
    assert set(names) == {row["service"] for row in met}
    code, out, _ = call("costs", "show", "--table", "t", "--by", "account", "--since", "2025-12-31")
    recent = sum((row["cost"] for row in met if row["date"] == date(2025, 12, 31)), Decimal(0))
    assert code == 0
    assert format(recent.normalize(), "f") in out


def test_a_table_that_is_not_there_is_not_shown(call: Call) -> None:
    """Neither is a breakdown that it has not."""
    code, _, err = call("costs", "show", "--table", "t")
    assert (code, err) == (2, "error: --table: there is none at 't'; allowed: one that sync made\n")
    call(*WORDS, *ACCOUNT)
    with pytest.raises(ConfigError, match="by: 'team' is unknown"):
        asyncio.run(day_sums("t", "team"))  # type: ignore[arg-type]  # what is tested
    code, _, err = call("costs", "show", "--table", "t", "--by", "region")
    assert (code, "allowed: account, service" in err) == (2, True)


def test_one_breakdown_is_added_up() -> None:
    """Each has all the money, so two of them never are; which one has to be said."""
    assert chosen_breakdown(None, {"service": 1}) == "service"
    assert chosen_breakdown("region", {"service": 2, "region": 1}) == "region"
    assert chosen_breakdown(None, {None: 1}) is None
    assert chosen_breakdown("account", {}) == "account"
    for by, there in ((None, {"service": 1, None: 1}), ("family", {"service": 1})):
        with pytest.raises(ConfigError, match="allowed: account"):
            chosen_breakdown(by, there)  # type: ignore[arg-type]  # of literals


def test_accounts_are_told_from_what_covers_most() -> None:
    """Any breakdown tells them; of those with as many days the plainer one, else by name."""
    assert chosen_breakdown("account", {"region": 7, "service": 61}) == "service"
    assert chosen_breakdown("account", {"service": 61, "region": 61}) == "region"
    assert chosen_breakdown("account", {"region": 61, "account": 61}) == "account"
    assert chosen_breakdown("account", {"account": 61, None: 61}) is None
    assert chosen_breakdown("account", {"account": 60, "service": 61}) == "service"


def test_a_breakdown_of_a_few_days_hides_no_costs(call: Call, tmp_path: Path) -> None:
    """All that was synced is added up by account; what that is, is told."""
    call(*WORDS, *ACCOUNT)
    week = ("--from", "2024-02-01", "--to", "2024-02-07", "--group-by", "region")
    call("costs", "sync", "--table", "t", *ACCOUNT, *week)
    whole = sum((r["cost"] for r in rows(tmp_path / "t") if r["group_by"] == "service"), Decimal(0))
    code, out, err = call("costs", "show", "--table", "t", "--by", "account")
    assert (code, Decimal(json.loads(out)[0]["cost"])) == (0, whole)
    assert err == (
        f"total USD {format(whole.normalize(), 'f')}; rows by service, of 1 account, "
        "2024-01-01 to 2025-12-31\n"
    )
    code, out, _ = call("costs", "show", "--table", "t", "--by", "region", "--format", "table")
    last = out.splitlines()[-1]
    assert (code, last.split("; ")[1]) == (
        0,
        "rows by region, of 1 account, 2024-02-01 to 2024-02-07",
    )
    code, out, err = call("costs", "show", "--table", "t")
    assert (code, out, "--by: needed, as this table has several breakdowns" in err) == (2, "", True)


def test_days_that_are_not_there_are_told(call: Call) -> None:
    """A range with a gap is no whole one; days before `since` do not count."""
    for day in ("2024-01-01", "2024-01-03"):
        call("costs", "sync", "--table", "t", *ACCOUNT, "--from", day, "--to", day)
    _, _, err = call("costs", "show", "--table", "t")
    assert "2024-01-01 to 2024-01-03 (2 of 3 days of accounts are there)" in err
    _, _, err = call("costs", "show", "--table", "t", "--since", "2024-01-02")
    assert "2024-01-03 to 2024-01-03\n" in err


def test_no_rows_are_told_as_such(call: Call) -> None:
    """Rather than an empty grid; as JSON, an empty list is one."""
    none = ("--account", "011254002932", "--from", "2031-01-01", "--to", "2031-01-02")
    call("costs", "sync", "--table", "t", *none)
    words = ("costs", "show", "--table", "t", "--format")
    told = "no rows; rows by service, of 1 account, 2031-01-01 to 2031-01-02\n"
    assert call(*words, "table") == (0, told, "")
    assert call(*words, "json") == (0, "[]\n", told)
    assert call(*words, "csv")[1] == "name,cost,currency,days\r\n"
    assert call(*words, "table", "--since", "2032-01-01") == (0, "no rows since 2032-01-01\n", "")


def test_bars_have_the_costs_heights() -> None:
    """From the least, or zero, to the most; none where all are the same."""
    assert bars([Decimal(n) for n in range(8)]) == "▁▂▃▄▅▆▇█"
    assert bars([Decimal(-7), Decimal(0)]) == "▁█"
    assert bars([Decimal(0)] * 3) == "▁▁▁"
    days = {date(2024, 1, 1) + timedelta(days=n): Decimal(1) for n in range(731)}
    spans = spread(days, min(days), max(days))
    assert (len(spans) <= 60, set(spans)) == (True, {Decimal(1)})


def test_what_has_no_day_has_no_bars() -> None:
    """Its total is told all the same, and a name that is missing is told as such."""
    (line,) = ranking([DaySum(None, None, "USD", Decimal("1.50"))])
    assert line == {"name": "(none)", "cost": "1.5", "currency": "USD", "days": 0, "by day": ""}
