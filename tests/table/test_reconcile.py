"""Reconciliation of the table with one wide request for each account."""

from datetime import timedelta
from decimal import Decimal

from aiohttp import web
from deltalake import DeltaTable

from tests.table.api import FIRST, LAST, Api
from tests.table.conftest import Sync, contents_of

DAY = timedelta(days=1)
SETTLED = LAST + 60 * DAY


async def test_a_correct_table_has_no_differences(api: Api, run: Sync) -> None:
    """Reconciling sends one wide request without a breakdown for each account."""
    await run()
    api.requested.clear()
    report = await run(reconcile=True)
    assert report.complete
    assert report.requests == 2
    assert sorted(api.requested) == [(account, FIRST, LAST, None) for account in api.accounts]


async def test_a_lost_row_is_named(api: Api, run: Sync, table: str) -> None:
    """The difference has the account, the day, and both sums, exact."""
    await run()
    account, day = api.accounts[1], FIRST + 9 * DAY
    DeltaTable(table).delete(
        f"query_account_id = '{account}' AND date = DATE '{day}' AND service = 's3'"
    )
    report = await run(reconcile=True)
    (difference,) = report.differences
    costs = api.costs[account, day]
    assert (difference.account_id, difference.from_date, difference.to_date) == (account, day, day)
    assert (difference.table_total, difference.api_total) == (costs["ec2"], sum(costs.values()))
    assert not report.complete


async def test_a_restated_closed_day_is_named(api: Api, run: Sync) -> None:
    """Reconciling finds a restatement of a day that is not requested again."""
    await run(today=LAST)
    api.costs[api.accounts[0], FIRST]["s3"] += Decimal("1e-11")
    report = await run(today=LAST, reconcile=True)
    assert [(d.from_date, d.api_total - d.table_total) for d in report.differences] == [
        (FIRST, Decimal("1e-11"))
    ]


async def test_a_day_that_differs_is_requested_again(api: Api, run: Sync, table: str) -> None:
    """A row that a settled day has lost is found, and the next sync restores it."""
    await run(today=SETTLED)
    whole = contents_of(table)
    account, day = api.accounts[0], FIRST + 20 * DAY
    costs = api.costs[account, day]
    DeltaTable(table).delete(
        f"query_account_id = '{account}' AND date = DATE '{day}' AND service = 'ec2'"
    )
    assert not (await run(today=SETTLED, reconcile=True)).complete
    api.requested.clear()
    report = await run(today=SETTLED, reconcile=True)
    assert report.complete
    assert (report.changed_days, report.skipped_days) == (1, report.planned_days - 1)
    assert api.requested[0] == (account, day, day, "service")
    assert contents_of(table) == whole
    (change,) = report.changes
    assert (change.account_id, change.from_date) == (account, day)
    assert (change.old_total, change.new_total) == (costs["s3"], sum(costs.values()))
    assert (await run(today=SETTLED)).requests == 0


async def test_reconciling_uses_another_query(api: Api, run: Sync) -> None:
    """A table without a breakdown is compared with one by account, not with the same query."""
    await run(group_by=None)
    api.requested.clear()
    report = await run(group_by=None, reconcile=True, today=SETTLED)
    assert report.complete
    assert [group_by for *_, group_by in api.requested] == ["account", "account"]


async def test_a_wrong_reconciling_response_is_reported(api: Api, run: Sync) -> None:
    """A row that is missing from the response is a difference, until a later sync finds none."""
    await run()
    api.alter = lambda rows: rows if "service" in rows[0] else rows[1:]
    report = await run(reconcile=True, today=SETTLED)
    assert [(d.from_date, str(d.api_total)) for d in report.differences] == [(FIRST, "0")] * 2
    assert not report.complete
    api.alter = list
    report = await run(reconcile=True, today=SETTLED)
    assert report.complete
    assert (report.unchanged_days, report.changes) == (2, ())


async def test_rows_without_a_date_are_compared_as_a_whole(api: Api, run: Sync) -> None:
    """A difference in rows without a date spans the whole range."""
    api.is_dated = False
    assert (await run(reconcile=True)).complete
    api.costs[api.accounts[0], FIRST]["s3"] += 1
    report = await run(reconcile=True)
    assert [(d.from_date, d.to_date) for d in report.differences] == [(FIRST, LAST)]


async def test_accounts_that_cannot_be_reconciled_are_reported(api: Api, run: Sync) -> None:
    """An account whose request fails is unreconciled, and the sync incomplete."""
    await run()
    api.refuse = lambda account, _days: (
        web.Response(status=404) if account == api.accounts[0] else None
    )
    report = await run(reconcile=True)
    assert [failure.query.account_id for failure in report.unreconciled] == api.accounts[:1]
    assert not report.complete


async def test_max_requests_includes_reconciling(api: Api, run: Sync) -> None:
    """Accounts beyond `max_requests` are reported as unreconciled."""
    report = await run(reconcile=True, max_requests=3)
    assert (report.requests, len(report.unreconciled), len(api.requested)) == (3, 1, 3)
    report = await run(group_by=None, reconcile=True, max_requests=2)
    assert (report.new_days, len(report.unreconciled)) == (report.planned_days, 2)
    assert not report.complete
