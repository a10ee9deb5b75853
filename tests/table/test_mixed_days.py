"""Rows with and without a date in one table, and servers that change between them."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from deltalake import DeltaTable

from tests.table.api import DAYS, FIRST, LAST, Api, Row
from tests.table.conftest import Sync, rows_of, sum_of


def refuse_above(most: int) -> Callable[[str, int], web.Response | None]:
    return lambda _, days: None if days <= most else web.Response(status=413)


def with_tax(rows: list[Row]) -> list[Row]:
    """Return the rows and an additional one without a date."""
    return [*rows, rows[0] | {"date": None, "service": "tax", "cost": Decimal("1.5")}]


@pytest.mark.parametrize("window", ["month", "whole"])
@pytest.mark.parametrize("mutable_days", [1, 20, 45, 200])
async def test_a_slice_is_written_whole(
    api: Api, run: Sync, table: str, window: Any, mutable_days: int
) -> None:
    """Dated rows of a window that is one slice belong to it, closed days or not."""
    api.alter = with_tax
    report = await run(window=window, mutable_days=mutable_days, today=LAST)
    windows = 6 if window == "month" else 2
    assert report.complete
    assert sum_of(table) == api.total + windows * Decimal("1.5")
    assert report.totals == {"USD": sum_of(table)}
    again = await run(window=window, mutable_days=mutable_days, today=LAST, reconcile=True)
    assert again.changed_days == 0


async def test_rows_that_begin_to_carry_dates(api: Api, run: Sync, table: str) -> None:
    """The days of a window replace its undated slice, and no row is stored twice."""
    api.is_dated = False
    await run(window="month", today=LAST)
    api.is_dated = True
    for window in ("month", "auto"):
        report = await run(window=window, today=LAST, mutable_days=1000)
        assert (report.complete, sum_of(table)) == (True, api.total)
        assert None not in {row["date"] for row in rows_of(table)}


async def test_rows_without_ledger_entries_are_replaced(api: Api, run: Sync, table: str) -> None:
    """Undated rows of a sync that was killed before its ledger commit are replaced by days."""
    api.is_dated = False
    await run(window="month", today=LAST)
    DeltaTable(f"{table}_ledger").delete()
    api.is_dated = True
    report = await run(today=LAST)
    assert (report.complete, sum_of(table)) == (True, api.total)


@pytest.mark.parametrize("window", ["day", "month"])
async def test_lost_rows_without_a_date_are_restored(
    api: Api, run: Sync, table: str, window: Any
) -> None:
    """Reconciling finds the loss, and the next sync repairs it and reports no restatement."""
    api.is_dated = False
    await run(window=window, today=LAST)
    DeltaTable(table).delete(f"query_account_id = '{api.accounts[0]}' AND service = 's3'")
    damaged = await run(window=window, today=LAST, reconcile=True)
    assert {each.account_id for each in damaged.differences} == {api.accounts[0]}
    repaired = await run(window=window, today=LAST, reconcile=True)
    assert (repaired.complete, repaired.changes) == (True, ())
    assert sum_of(table) == api.total


async def test_a_row_without_a_date_narrows_its_account_only(api: Api, run: Sync) -> None:
    """A row without a date narrows the windows of its account only."""
    account = api.accounts[0]
    api.alter = lambda rows: with_tax(rows) if rows[0]["accountId"] == account else rows
    report = await run(today=LAST)
    assert report.requests == 1 + DAYS + 1


async def test_accounts_without_costs_teach_no_limit_in_rows(run: Sync, api: Api) -> None:
    """With no rows at all, every sync completes at any limit in days."""
    api.costs.clear()
    for limit in (1, 20, 15, 200):
        refused = await run(today=LAST)
        assert refused.complete
        api.refuse = refuse_above(limit)
        assert (await run(today=LAST, mutable_days=1000)).complete


@pytest.mark.parametrize("max_requests", range(1, 12))
async def test_the_report_adds_up_for_any_max_requests(
    api: Api, run: Sync, max_requests: int
) -> None:
    """Slices with a 5xx that were still undecided when requests ended are counted too."""
    await run(today=LAST, mutable_days=1)
    dead = api.accounts[1]
    api.refuse = lambda account, _: web.Response(status=503) if account == dead else None
    report = await run(today=LAST, mutable_days=1000, max_requests=max_requests)
    assert not report.complete


async def test_a_wide_reconciliation_is_requested_in_parts(api: Api, run: Sync) -> None:
    """A range that is too wide for the server is reconciled in narrower windows."""
    api.refuse = refuse_above(30)
    report = await run(today=LAST, reconcile=True)
    assert report.complete
    assert report.unreconciled == ()


async def test_only_days_of_the_table_are_compared(api: Api, run: Sync) -> None:
    """A day that failed is reported as failed, not as a difference too."""
    bad = FIRST + timedelta(days=3)
    api.alter = lambda rows: [
        row | ({"cost": Decimal("1e30")} if row["date"] == bad.isoformat() else {}) for row in rows
    ]
    report = await run(window="day", today=LAST, reconcile=True)
    assert (report.failed_days, report.differences) == (2, ())


async def test_remembered_limits_survive_a_fixed_window(api: Api, run: Sync) -> None:
    """A sync by day in between does not make the next one request too wide windows."""
    api.refuse = refuse_above(20)
    await run(today=LAST)
    await run(today=LAST, window="day")
    api.requested.clear()
    await run(today=LAST)
    assert max((last - first).days + 1 for _, first, last, _ in api.requested) <= 20


@pytest.mark.parametrize("mutable_days", [800_000, 10**9])
async def test_any_number_of_mutable_days(run: Sync, mutable_days: int) -> None:
    """More mutable days than the calendar has before today mean all days."""
    assert (await run(mutable_days=mutable_days)).complete
