"""Rows that carry their day beside rows that do not, and servers that change their mind."""

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
    """A row more that is of no day."""
    return [*rows, rows[0] | {"date": None, "service": "tax", "cost": Decimal("1.5")}]


@pytest.mark.parametrize("window", ["month", "whole"])
@pytest.mark.parametrize("mutable_days", [1, 20, 45, 200])
async def test_a_slice_is_written_whole(
    api: Api, run: Sync, table: str, window: Any, mutable_days: int
) -> None:
    """Dated rows of a window that is one slice are kept with it, closed days or not."""
    api.alter = with_tax
    report = await run(window=window, mutable_days=mutable_days, today=LAST)
    windows = 6 if window == "month" else 2
    assert report.complete
    assert sum_of(table) == api.total + windows * Decimal("1.5")
    assert report.totals == {"USD": sum_of(table)}
    again = await run(window=window, mutable_days=mutable_days, today=LAST, reconcile=True)
    assert again.changed_days == 0


async def test_rows_that_begin_to_carry_their_day(api: Api, run: Sync, table: str) -> None:
    """Days take the place of a window that they are all of, and nothing is there twice."""
    api.is_dated = False
    await run(window="month", today=LAST)
    api.is_dated = True
    for window in ("month", "auto"):
        report = await run(window=window, today=LAST, mutable_days=1000)
        assert (report.complete, sum_of(table)) == (True, api.total)
        assert None not in {row["date"] for row in rows_of(table)}


async def test_rows_that_nobody_knows_of_are_replaced(api: Api, run: Sync, table: str) -> None:
    """A sync that was killed before it told the ledger leaves no window beside its days."""
    api.is_dated = False
    await run(window="month", today=LAST)
    DeltaTable(f"{table}_ledger").delete()
    api.is_dated = True
    report = await run(today=LAST)
    assert (report.complete, sum_of(table)) == (True, api.total)


@pytest.mark.parametrize("window", ["day", "month"])
async def test_lost_rows_without_a_day_come_back(
    api: Api, run: Sync, table: str, window: Any
) -> None:
    """Reconciling names the loss, the next run repairs it, and invents no restatement."""
    api.is_dated = False
    await run(window=window, today=LAST)
    DeltaTable(table).delete(f"query_account_id = '{api.accounts[0]}' AND service = 's3'")
    found = await run(window=window, today=LAST, reconcile=True)
    assert {each.account_id for each in found.differences} == {api.accounts[0]}
    repaired = await run(window=window, today=LAST, reconcile=True)
    assert (repaired.complete, repaired.changes) == (True, ())
    assert sum_of(table) == api.total


async def test_one_row_without_a_day_costs_its_account_alone(api: Api, run: Sync) -> None:
    """The others are asked as wide as before."""
    account = api.accounts[0]
    api.alter = lambda rows: with_tax(rows) if rows[0]["accountId"] == account else rows
    report = await run(today=LAST)
    assert report.requests == 1 + DAYS + 1


async def test_accounts_without_costs_do_not_confuse_a_limit(run: Sync, api: Api) -> None:
    """Nothing is learned of rows from none, whatever days the server bears."""
    api.costs.clear()
    for limit in (1, 20, 15, 200):
        refused = await run(today=LAST)
        assert refused.complete
        api.refuse = refuse_above(limit)
        assert (await run(today=LAST, mutable_days=1000)).complete


@pytest.mark.parametrize("max_requests", range(1, 12))
async def test_the_books_add_up_wherever_requests_end(
    api: Api, run: Sync, max_requests: int
) -> None:
    """Windows that met a 5xx, and were to be judged by what came next, are booked too."""
    await run(today=LAST, mutable_days=1)
    dead = api.accounts[1]
    api.refuse = lambda account, _: web.Response(status=503) if account == dead else None
    report = await run(today=LAST, mutable_days=1000, max_requests=max_requests)
    assert not report.complete


async def test_a_wide_reconciliation_is_asked_in_parts(api: Api, run: Sync) -> None:
    """What the server does not bear at once is no reason to give up; nor are days not there."""
    api.refuse = refuse_above(30)
    report = await run(today=LAST, reconcile=True)
    assert report.complete
    assert report.unreconciled == ()


async def test_only_days_that_are_there_are_compared(api: Api, run: Sync) -> None:
    """A window that failed is missing, which is told once, and no difference."""
    bad = FIRST + timedelta(days=3)
    api.alter = lambda rows: [
        row | ({"cost": Decimal("1e30")} if row["date"] == bad.isoformat() else {}) for row in rows
    ]
    report = await run(window="day", today=LAST, reconcile=True)
    assert (report.failed_days, report.differences) == (2, ())


async def test_what_was_learned_outlives_a_window_of_the_users(api: Api, run: Sync) -> None:
    """A run by day in between does not make the next one ask too much."""
    api.refuse = refuse_above(20)
    await run(today=LAST)
    await run(today=LAST, window="day")
    api.asked.clear()
    await run(today=LAST)
    assert max((last - first).days + 1 for _, first, last, _ in api.asked) <= 20


@pytest.mark.parametrize("mutable_days", [800_000, 10**9])
async def test_any_number_of_mutable_days(run: Sync, mutable_days: int) -> None:
    """More days than there are before today are all of them."""
    assert (await run(mutable_days=mutable_days)).complete
