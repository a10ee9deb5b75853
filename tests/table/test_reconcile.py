"""The table's own rows against one wide request an account."""

from datetime import timedelta
from decimal import Decimal

from aiohttp import web
from deltalake import DeltaTable

from tests.table.api import FIRST, LAST, Api
from tests.table.conftest import Sync, contents_of

DAY = timedelta(days=1)
SETTLED = LAST + 60 * DAY


async def test_a_right_table_gives_no_alarm(api: Api, run: Sync) -> None:
    """One request more for each account, wide and without a breakdown."""
    await run()
    api.asked.clear()
    report = await run(reconcile=True)
    assert report.complete
    assert report.requests == 2
    assert sorted(api.asked) == [(account, FIRST, LAST, None) for account in api.accounts]


async def test_a_lost_row_is_named(api: Api, run: Sync, table: str) -> None:
    """Account, day, and both sums, to the last decimal."""
    await run()
    account, day = api.accounts[1], FIRST + 9 * DAY
    DeltaTable(table).delete(
        f"query_account_id = '{account}' AND date = DATE '{day}' AND service = 's3'"
    )
    report = await run(reconcile=True)
    (found,) = report.differences
    costs = api.costs[account, day]
    assert (found.account_id, found.from_date, found.to_date) == (account, day, day)
    assert (found.table_total, found.api_total) == (costs["ec2"], sum(costs.values()))
    assert not report.complete


async def test_a_restated_closed_day_is_named(api: Api, run: Sync) -> None:
    """What is never asked again is found by reconciling."""
    await run(today=LAST)
    api.costs[api.accounts[0], FIRST]["s3"] += Decimal("1e-11")
    report = await run(today=LAST, reconcile=True)
    assert [(d.from_date, d.api_total - d.table_total) for d in report.differences] == [
        (FIRST, Decimal("1e-11"))
    ]


async def test_what_differs_is_asked_again(api: Api, run: Sync, table: str) -> None:
    """A row that a settled day has lost is found, and with the next run the table is right."""
    await run(today=SETTLED)
    whole = contents_of(table)
    account, day = api.accounts[0], FIRST + 20 * DAY
    costs = api.costs[account, day]
    DeltaTable(table).delete(
        f"query_account_id = '{account}' AND date = DATE '{day}' AND service = 'ec2'"
    )
    assert not (await run(today=SETTLED, reconcile=True)).complete
    api.asked.clear()
    report = await run(today=SETTLED, reconcile=True)
    assert report.complete
    assert (report.changed_days, report.skipped_days) == (1, report.planned_days - 1)
    assert api.asked[0] == (account, day, day, "service")
    assert contents_of(table) == whole
    (change,) = report.changes
    assert (change.account_id, change.from_date) == (account, day)
    assert (change.old_total, change.new_total) == (costs["s3"], sum(costs.values()))
    assert (await run(today=SETTLED)).requests == 0


async def test_reconciling_asks_another_question(api: Api, run: Sync) -> None:
    """What a server gets wrong in one request is not taken from the same one again."""
    await run(group_by=None)
    api.asked.clear()
    report = await run(group_by=None, reconcile=True, today=SETTLED)
    assert report.complete
    assert [group_by for *_, group_by in api.asked] == ["account", "account"]


async def test_a_lie_in_the_reconciling_answer_is_an_alarm(api: Api, run: Sync) -> None:
    """Lost or twice: the day is named with what the table has and what the server says."""
    await run()
    api.alter = lambda rows: rows if "service" in rows[0] else rows[1:]
    report = await run(reconcile=True, today=SETTLED)
    assert [(d.from_date, str(d.api_total)) for d in report.differences] == [(FIRST, "0")] * 2
    assert not report.complete
    api.alter = list
    report = await run(reconcile=True, today=SETTLED)
    assert report.complete
    assert (report.unchanged_days, report.changes) == (2, ())


async def test_rows_without_a_day_are_compared_as_a_whole(api: Api, run: Sync) -> None:
    """Over the range, as nothing finer is known."""
    api.is_dated = False
    assert (await run(reconcile=True)).complete
    api.costs[api.accounts[0], FIRST]["s3"] += 1
    report = await run(reconcile=True)
    assert [(d.from_date, d.to_date) for d in report.differences] == [(FIRST, LAST)]


async def test_what_cannot_be_reconciled_is_told(api: Api, run: Sync) -> None:
    """A request that fails, or that may not be sent, is no proof."""
    await run()
    api.refuse = lambda account, _days: (
        web.Response(status=404) if account == api.accounts[0] else None
    )
    report = await run(reconcile=True)
    assert [failure.query.account_id for failure in report.unreconciled] == api.accounts[:1]
    assert not report.complete


async def test_the_cap_includes_reconciling(api: Api, run: Sync) -> None:
    """Requests that are spent leave accounts unreconciled, and say so."""
    report = await run(reconcile=True, max_requests=3)
    assert (report.requests, len(report.unreconciled), len(api.asked)) == (3, 1, 3)
    report = await run(group_by=None, reconcile=True, max_requests=2)
    assert (report.new_days, len(report.unreconciled)) == (report.planned_days, 2)
    assert not report.complete
