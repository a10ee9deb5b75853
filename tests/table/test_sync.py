"""Syncs: complete, exact, and with as few requests as possible."""

import json
import threading
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spot_billing_async import ConfigError, SpotBillingClient
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.export import COLUMNS
from spot_billing_async.table import SyncPlan, TableConflictError, TableError, plan, sync
from spot_billing_async.table.storage.delta import DeltaTable
from spot_billing_async.table.storage.schemas import COSTS, LEDGER
from spot_billing_async.table.storage.store import TableStore
from tests.table.api import DAYS, FIRST, LAST, Api
from tests.table.conftest import Sync, contents_of, rows_of, sum_of, version_of

TODAY = LAST  # the last day is not over yet
MUTABLE = 45
DAY = timedelta(days=1)


async def test_a_table_holds_all_costs(api: Api, run: Sync, table: str) -> None:
    """A sync sends one request for each account, and stores every row with its fetch time."""
    report = await run()
    assert report.complete
    assert (report.new_days, report.requests) == (2 * DAYS, 2)
    assert report.totals == {"USD": api.total}
    assert (report.rows_written, sum_of(table)) == (4 * DAYS, api.total)
    row = rows_of(table)[0]
    assert set(row) == {*COLUMNS, "fetched_at"}
    assert (row["query_from"], row["query_to"], row["request_id"]) == (FIRST, LAST, "r1")
    assert row["fetched_at"].tzinfo is not None


async def test_the_ledger_has_a_row_for_each_slice(run: Sync, table: str) -> None:
    """The totals of an entry are the sums of the slice's rows in the table."""
    await run(today=TODAY)
    ledger = rows_of(f"{table}_ledger")
    assert len(ledger) == 2 * DAYS
    totals: dict[tuple[str, date], Decimal] = {}
    for row in rows_of(table):
        key = (row["query_account_id"], row["date"])
        totals[key] = totals.get(key, Decimal(0)) + row["cost"]
    for entry in ledger:
        key = (entry["account_id"], entry["from_date"])
        assert entry["to_date"] == entry["from_date"]
        assert dict(entry["totals"]) == {"USD": totals[key]}
        assert (entry["rows"], entry["group_by"], len(entry["digest"])) == (2, "service", 64)
        assert entry["incomplete"] is (entry["to_date"] == TODAY)


async def test_settled_days_are_not_requested_again(api: Api, run: Sync, table: str) -> None:
    """Settled days are skipped and counted in the report, and nothing is committed."""
    await run()
    before = version_of(table), version_of(f"{table}_ledger")
    api.requested.clear()
    report = await run()
    assert (report.skipped_days, report.requests, api.requested) == (2 * DAYS, 0, [])
    assert report.totals == {"USD": api.total}
    assert (version_of(table), version_of(f"{table}_ledger")) == before


async def test_only_gaps_are_requested(api: Api, run: Sync, table: str) -> None:
    """A range around settled days costs one request for each gap."""
    middle = FIRST + 30 * DAY
    await run(from_date=middle, to_date=middle + 9 * DAY)
    api.requested.clear()
    report = await run()
    assert (report.skipped_days, report.new_days) == (20, 2 * DAYS - 20)
    assert sorted(api.requested) == [
        (account, *days, "service")
        for account in api.accounts
        for days in ((FIRST, middle - DAY), (middle + 10 * DAY, LAST))
    ]
    assert sum_of(table) == api.total


async def test_only_mutable_days_are_requested_again(api: Api, run: Sync) -> None:
    """A day is requested until it was fetched at the age of 45 days; the tail is one request."""
    await run(today=TODAY)
    api.requested.clear()
    report = await run(today=TODAY + DAY, mutable_days=MUTABLE)
    tail = TODAY - (MUTABLE - 1) * DAY
    assert sorted(api.requested) == [(account, tail, LAST, "service") for account in api.accounts]
    assert (report.unchanged_days, report.changed_days) == (2 * MUTABLE, 0)
    api.requested.clear()
    await run(today=TODAY + 2 * DAY)
    assert {first for _, first, _, _ in api.requested} == {tail + DAY}


async def test_unchanged_days_are_not_rewritten(run: Sync, table: str) -> None:
    """The costs get no commit if every day is unchanged."""
    await run(today=TODAY)
    before = version_of(table)
    report = await run(today=TODAY)
    assert (version_of(table), report.rows_written, report.changes) == (before, 0, ())


async def test_restatements_are_found_and_reported(api: Api, run: Sync, table: str) -> None:
    """Changes have account, day, old and new total; other days are not rewritten."""
    await run(today=TODAY)
    account, changed, moved, gone = api.accounts[1], LAST - 3 * DAY, LAST - 9 * DAY, LAST
    old = {day: sum(api.costs[account, day].values()) for day in (changed, moved, gone)}
    api.costs[account, changed]["s3"] += Decimal("1.00000000001")
    api.costs[account, moved]["rds"] = api.costs[account, moved].pop("ec2")
    del api.costs[account, gone]
    report = await run(today=TODAY)
    assert (report.changed_days, report.unchanged_days) == (3, 2 * MUTABLE - 3)
    assert [(c.account_id, c.from_date, c.old_total, c.difference) for c in report.changes] == [
        (account, moved, old[moved], 0),
        (account, changed, old[changed], Decimal("1.00000000001")),
        (account, gone, old[gone], -old[gone]),
    ]
    assert report.rows_written == 4
    assert sum_of(table) == api.total
    assert {(row["query_account_id"], row["date"]) for row in rows_of(table)} == set(api.costs)


async def test_files_of_closed_days_stay(api: Api, run: Sync, tmp_path: Any) -> None:
    """A restatement rewrites files of mutable days only."""
    await run(today=TODAY)
    closed = (TODAY - MUTABLE * DAY).isoformat()
    api.costs[api.accounts[0], LAST]["s3"] += 1
    await run(today=TODAY)
    log = max((tmp_path / "costs" / "_delta_log").iterdir()).read_text().splitlines()
    removed = [json.loads(line)["remove"]["path"] for line in log if '"remove"' in line]
    assert len(removed) == 1
    for path in removed:
        days = pq.read_table(tmp_path / "costs" / path, columns=["date"])["date"].to_pylist()
        assert min(days).isoformat() > closed


async def test_closed_days_stay(api: Api, run: Sync, table: str) -> None:
    """A restatement of a day that is no longer mutable is not found."""
    await run(today=TODAY)
    total = api.total
    api.costs[api.accounts[0], FIRST]["s3"] += 1
    report = await run(today=TODAY)
    assert (report.changes, sum_of(table)) == ((), total)


async def test_windows_may_differ_from_sync_to_sync(api: Api, run: Sync, table: str) -> None:
    """Slices are days, so no day is stored twice for any sequence of windows."""
    await run(window="week", today=FIRST + 50 * DAY, to_date=FIRST + 60 * DAY)
    await run(window="month", today=LAST, mutable_days=60)
    await run(window=11, today=LAST, mutable_days=80)
    assert len(contents_of(table)) == 4 * DAYS
    assert sum_of(table) == api.total


async def test_a_table_may_hold_several_breakdowns(api: Api, run: Sync, table: str) -> None:
    """Each breakdown has all the costs, and a sync of one does not change another."""
    await run()
    await run(group_by=None, today=LAST)
    await run(group_by=None, today=LAST)
    by_group: dict[str | None, Decimal] = {}
    for row in rows_of(table):
        by_group[row["group_by"]] = by_group.get(row["group_by"], Decimal(0)) + row["cost"]
    assert by_group == {"service": api.total, None: api.total}


@pytest.mark.parametrize("account", ["/subscriptions/a b%20", "it's", "011254002932", 'q"\\;--'])
async def test_any_account_id_is_allowed(api: Api, run: Sync, table: str, account: str) -> None:
    """No id breaks an SQL predicate or selects the rows of another account."""
    api.costs = {
        (account if old == api.accounts[0] else old, day): costs
        for (old, day), costs in api.costs.items()
    }
    api.accounts[0] = account
    await run(today=LAST)
    api.costs[account, LAST]["s3"] += 1
    report = await run(today=LAST)
    assert (report.changed_days, sum_of(table)) == (1, api.total)


async def test_a_plan_sends_and_creates_nothing(
    api: Api, run: Sync, table: str, tmp_path: Any
) -> None:
    """A plan has the number of requests and days; it is exact if no request fails."""
    scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
    scope |= {"group_by": "service", "today": TODAY}
    first = await plan(table, **scope)
    assert first == SyncPlan(requests=2, due_days=2 * DAYS, skipped_days=0, is_lower_bound=True)
    assert (await plan(table, **scope, window="month")).requests == 6
    assert (list(tmp_path.iterdir()), api.requested) == ([], [])
    await run(today=TODAY)
    tail = await plan(table, **scope)
    assert tail == SyncPlan(requests=2, due_days=2 * MUTABLE, skipped_days=2 * (DAYS - MUTABLE))


async def test_max_requests_is_not_exceeded(api: Api, run: Sync, table: str) -> None:
    """The remaining days are 'not started', and the next sync requests them."""
    report = await run(window="day", max_requests=50)
    assert (report.requests, report.new_days, report.not_started_days) == (50, 50, 2 * DAYS - 50)
    assert not report.complete
    report = await run(window="day")
    assert (report.skipped_days, report.requests) == (50, 2 * DAYS - 50)
    assert sum_of(table) == api.total


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accounts": []}, "accounts"),
        ({"accounts": "act-0"}, "accounts"),
        ({"from_date": "2024-01-01"}, "from_date"),
        ({"to_date": FIRST - DAY}, "from_date"),
        ({"group_by": "team"}, "group_by"),
        ({"window": "fortnight"}, "window must be one of 'auto', 'day', .* >= 1, got 'fortnight'"),
        ({"window": 0}, "window"),
        ({"mutable_days": 0}, "mutable_days"),
        ({"mutable_days": 1.5}, "mutable_days"),
        ({"max_requests": 0}, "max_requests"),
        ({"batch_requests": 0}, "batch_requests"),
        ({"today": "now"}, "today"),
    ],
    ids=str,
)
async def test_invalid_arguments_are_named(
    api: Api, run: Sync, tmp_path: Any, options: dict[str, Any], named: str
) -> None:
    """The error for an invalid argument names it; nothing is created or sent."""
    with pytest.raises(ConfigError, match=named):
        await run(**options)
    assert (list(tmp_path.iterdir()), api.requested) == ([], [])


@pytest.mark.parametrize("table", ["", "  "])
async def test_a_table_needs_a_location(run: Sync) -> None:
    """Blank text is not a location."""
    with pytest.raises(ConfigError, match="table must be non-empty text"):
        await run()


async def test_a_foreign_table_is_refused(api: Api, run: Sync, table: str) -> None:
    """A Delta table with other columns is refused, and no request is sent."""
    DeltaTable.open_or_create(table, pa.schema({"x": pa.int64()}), [])
    with pytest.raises(ConfigError, match=r"a table that sync created, got .* with the columns x"):
        await run()
    assert api.requested == []


@pytest.mark.parametrize("table", ["/dev/null/costs", "nonsense://place/costs"])
async def test_no_foreign_error_escapes(run: Sync) -> None:
    """Errors of deltalake and the system are raised as `TableError`, which names the table."""
    with pytest.raises(TableError, match="costs") as caught:
        await run()
    assert isinstance(caught.value, SpotBillingError)


async def test_a_damaged_table_is_an_error(run: Sync, tmp_path: Any) -> None:
    """A log that cannot be read is a `TableError`."""
    await run()
    for commit in (tmp_path / "costs" / "_delta_log").iterdir():
        commit.write_text("{broken")
    with pytest.raises(TableError, match="costs"):
        await run()


async def test_amounts_are_exact_or_refused(api: Api, run: Sync, table: str) -> None:
    """An amount of 18 decimals is kept; one of 19 fails its day only."""
    account, other = api.accounts
    api.costs[account, FIRST]["s3"] = Decimal("0.000000000000000001")
    api.costs[other, FIRST]["s3"] = Decimal("0.0000000000000000001")
    report = await run()
    assert (report.new_days, report.failed_days) == (2 * DAYS - 1, 1)
    (failure,) = report.failures
    assert (failure.query.account_id, failure.query.to_date) == (other, FIRST)
    assert "18 after it" in str(failure.error)
    assert Decimal("0.000000000000000001") in {row["cost"] for row in rows_of(table)}


async def test_an_amount_with_too_many_digits_fails_its_day(api: Api, run: Sync) -> None:
    """An amount or a sum of more digits than the column has is an error, not rounded."""
    for costs in ({"s3": Decimal("1e25")}, {"s3": Decimal("9e19"), "ec2": Decimal("9e19")}):
        api.costs[api.accounts[0], FIRST] = costs
        report = await run(mutable_days=1000)
        assert report.failed_days == 1
        assert "at most 20 digits before" in str(report.failures[0].error)


async def test_progress_is_reported(run: Sync) -> None:
    """The callback gets the done and the due days; at the end they are equal."""
    calls: list[tuple[int, int]] = []
    await run(window="month", progress=lambda done, due: calls.append((done, due)))
    assert len(calls) == 6
    assert calls == sorted(calls)
    assert calls[-1] == (2 * DAYS, 2 * DAYS)


async def test_two_concurrent_syncs_leave_a_correct_table(
    api: Api, client: SpotBillingClient, table: str
) -> None:
    """Of two syncs of the same slices at once, at most one fails, and the table is correct."""
    scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
    errors: list[SpotBillingError] = []

    async def one() -> None:
        try:
            await sync(client, table, **scope, group_by="service", window=7, batch_requests=2)
        except TableError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one)
        tasks.start_soon(one)
    assert len(errors) < 2
    await one()
    assert len(errors) < 2
    assert len(contents_of(table)) == 4 * DAYS
    assert sum_of(table) == api.total
    assert len(rows_of(f"{table}_ledger")) == 2 * DAYS


async def test_a_conflicting_commit_is_an_error(api: Api, run: Sync, table: str) -> None:
    """A commit conflicts with any commit to the same slices since its table was opened."""
    await run(to_date=FIRST)
    late = DeltaTable.open(table, COSTS)
    assert late is not None
    await run()
    version = version_of(table)
    with pytest.raises(TableConflictError, match="run again"):
        late.replace(COSTS.empty_table(), f"query_account_id = '{api.accounts[0]}'")
    assert (version_of(table), sum_of(table)) == (version, api.total)


async def test_a_conflict_in_the_ledger_removes_the_entries(
    api: Api, run: Sync, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices with entries of another sync are requested again, as they may not match the costs."""
    await run(to_date=FIRST)
    late = DeltaTable.open(f"{table}_ledger", LEDGER)
    assert late is not None
    await run(today=LAST)
    open_table = DeltaTable.open
    api.costs[api.accounts[0], LAST]["s3"] += 1
    ours = TableStore(open_table(table, COSTS), late)
    monkeypatch.setattr(TableStore, "open_or_create", lambda _table: ours)
    with pytest.raises(TableConflictError, match="run again"):
        await run(today=LAST)
    monkeypatch.undo()
    assert len(rows_of(f"{table}_ledger")) < 2 * DAYS
    report = await run(today=LAST, reconcile=True)
    assert report.complete
    assert len(contents_of(table)) == 4 * DAYS
    assert (len(rows_of(f"{table}_ledger")), sum_of(table)) == (2 * DAYS, api.total)


async def test_many_scattered_changes_are_replaced(api: Api, run: Sync, table: str) -> None:
    """Every change is reported, and the table is correct, for more runs than one commit writes."""
    await run(today=LAST)
    changed = [(account, LAST - 2 * n * DAY) for account in api.accounts for n in range(22)]
    for key in changed:
        api.costs[key]["s3"] += 1
    report = await run(today=LAST)
    assert sorted((c.account_id, c.from_date) for c in report.changes) == sorted(changed)
    assert (report.changed_days, report.unchanged_days) == (44, 46)
    assert len(contents_of(table)) == 4 * DAYS
    assert sum_of(table) == api.total


async def test_the_event_loop_is_not_blocked(run: Sync, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls of deltalake run in worker threads only."""
    threads: set[int] = set()
    for name in ("open", "open_or_create", "replace", "query"):
        method = getattr(DeltaTable, name)
        inner = getattr(method, "__func__", method)

        def recorded(*arguments: Any, inner: Any = inner) -> Any:
            threads.add(threading.get_ident())
            return inner(*arguments)

        is_bound = inner is not method
        monkeypatch.setattr(DeltaTable, name, classmethod(recorded) if is_bound else recorded)
    await run(reconcile=True)
    assert threads
    assert threading.get_ident() not in threads


async def test_a_long_log_gets_a_checkpoint(
    api: Api, run: Sync, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync starts with a checkpoint, so that opening a table stays fast over the years."""
    monkeypatch.setattr("spot_billing_async.table.storage.delta._LONG_LOG", 6)
    await run(window="month", batch_requests=1, today=LAST)
    log = Path(table) / "_delta_log"
    assert version_of(table) >= 6
    assert not list(log.glob("*.checkpoint.parquet"))
    await run(today=LAST)
    assert list(log.glob("*.checkpoint.parquet"))
    assert sum_of(table) == api.total
