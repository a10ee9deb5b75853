"""`window="auto"`: windows as wide as the server accepts, and limits that are remembered."""

from datetime import timedelta
from decimal import Decimal
from math import ceil, log2
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, ServerError
from spot_billing_async.table import sync
from tests.table.api import DAYS, FIRST, LAST, Api, client_of, rows_response
from tests.table.conftest import Sync, contents_of, rows_of, sum_of

STATUSES = [413, 500, 503]


def refuse_above(days: int, status: int, account: str | None = None) -> Any:
    def refuse(requested: str, requested_days: int) -> web.Response | None:
        is_limited = account is None or requested == account
        return web.Response(status=status) if is_limited and requested_days > days else None

    return refuse


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("limit", [1, 13, 46, DAYS])
async def test_a_window_that_is_too_wide_is_halved(
    api: Api, run: Sync, table: str, status: int, limit: int
) -> None:
    """The limit is found by halving the first account's window; the other profits from it."""
    api.refuse = refuse_above(limit, status)
    report = await run()
    assert report.complete
    assert len(contents_of(table)) == 4 * DAYS
    assert sum_of(table) == api.total
    halvings = ceil(log2(DAYS / limit))
    assert report.requests <= halvings + 2 * ceil(DAYS / limit) * 1.2 + 5


@pytest.mark.parametrize("limit", [9, 20, 30])
async def test_a_limit_is_remembered(api: Api, run: Sync, limit: int) -> None:
    """The next sync requests no window that fails."""
    api.refuse = refuse_above(limit, 413)
    await run(today=LAST)
    api.requested.clear()
    report = await run(today=LAST)
    assert report.unchanged_days == 2 * 45
    assert max((last - first).days + 1 for _, first, last, _ in api.requested) <= limit
    assert report.requests <= 1.2 * 2 * ceil(45 / limit)


async def test_a_limit_of_one_account_holds_for_it_alone(table: str) -> None:
    """A limit of one account does not narrow those of others, in this sync and the next."""
    api = Api(accounts=8)
    narrow = api.accounts[0]
    api.refuse = refuse_above(15, 413, narrow)
    scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
    async with client_of(api) as client:
        for days in (DAYS, 45):
            report = await sync(client, table, **scope, group_by="service", today=LAST)
            assert report.complete
            widths = [
                (last - first).days + 1
                for account, first, last, _ in api.requested
                if account != narrow
            ]
            assert widths == [days] * 7
            api.requested.clear()


async def test_a_body_that_is_too_large_is_halved(api: Api, table: str) -> None:
    """A response that exceeds `max_response_bytes` counts as too wide."""
    config = ClientConfig(max_response_bytes=6000, retry=RetryPolicy(max_attempts=1))
    async with client_of(api, config) as client:
        scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
        report = await sync(client, table, **scope, group_by="service")
    assert report.complete
    assert report.requests > 2
    assert sum_of(table) == api.total


async def test_a_window_that_misses_its_deadline_is_halved(api: Api, table: str) -> None:
    """A server that is too slow for a wide window is sent requests for narrower ones."""
    config = ClientConfig(deadline_s=0.3, retry=RetryPolicy(max_attempts=1))
    api.stall = lambda days: days > 50
    async with client_of(api, config) as client:
        scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
        report = await sync(client, table, **scope, group_by="service")
    assert (report.complete, report.requests) == (True, 5)
    assert sum_of(table) == api.total


async def test_an_account_whose_days_fail_is_one_failure(api: Api, run: Sync) -> None:
    """The failure spans all of the account's days; the other account is complete."""
    api.refuse = refuse_above(0, 413, api.accounts[0])
    report = await run()
    assert (report.failed_days, report.new_days) == (DAYS, DAYS)
    (failure,) = report.failures
    assert (failure.query.from_date, failure.query.to_date) == (FIRST, LAST)


async def test_a_5xx_on_one_account_only_means_its_width(api: Api, run: Sync, table: str) -> None:
    """The other account is fetched, so the server is up: the window is halved at once."""
    api.refuse = refuse_above(50, 502, api.accounts[1])
    report = await run()
    assert (report.complete, report.requests) == (True, 1 + 1 + 2)
    assert sum_of(table) == api.total


async def test_a_server_that_is_down_gets_few_requests(api: Api, run: Sync) -> None:
    """If nothing is fetched, only one window is halved; after its last day, all have failed."""
    api.refuse = refuse_above(0, 503)
    report = await run()
    assert (report.failed_days, report.new_days) == (2 * DAYS, 0)
    assert report.requests == 2 + 7  # 91 days are a day after seven halvings
    assert {type(failure.error) for failure in report.failures} == {ServerError}


async def test_another_error_is_not_requested_again(api: Api, run: Sync) -> None:
    """An error that does not depend on the width costs one request."""
    api.refuse = refuse_above(0, 404, api.accounts[0])
    report = await run()
    assert (report.failed_days, report.requests) == (DAYS, 2)


async def test_a_fixed_window_is_kept(api: Api, run: Sync) -> None:
    """A window that the caller chose is not halved."""
    api.refuse = refuse_above(29, 413)
    report = await run(window="month")
    assert (report.requests, report.failed_days) == (6, 2 * 62)
    assert len(report.failures) == 4


async def test_max_requests_holds_while_halving(api: Api, run: Sync) -> None:
    """Days that are left at `max_requests` are not started, and the report adds up."""
    api.refuse = refuse_above(10, 413)
    report = await run(max_requests=12)
    assert (report.requests, len(api.requested)) == (12, 12)
    assert report.not_started_days > 0
    assert report.failed_days == 0


async def test_rows_without_a_date_are_requested_day_by_day(
    api: Api, run: Sync, table: str
) -> None:
    """A wide response without dates is dropped, once, and each day is requested alone."""
    api.is_dated = False
    report = await run(today=LAST)
    assert (report.complete, report.requests) == (True, 2 + 2 * DAYS)
    assert sum_of(table) == api.total
    assert {row["date"] for row in rows_of(table)} == {None}
    api.costs[api.accounts[0], LAST]["s3"] += 1
    report = await run(today=LAST)
    assert (report.requests, report.changed_days) == (2 * 45 + 1, 1)
    assert [(c.from_date, c.to_date) for c in report.changes] == [(LAST, LAST)]
    assert sum_of(table) == api.total


async def test_rows_without_a_date_keep_a_fixed_window(api: Api, run: Sync, table: str) -> None:
    """A month without dates is one slice, which is replaced whole."""
    api.is_dated = False
    report = await run(window="month", today=LAST)
    assert report.requests == 6
    api.costs[api.accounts[0], LAST]["s3"] += 1
    report = await run(window="month", today=LAST)
    assert [(c.from_date.day, c.to_date, c.difference) for c in report.changes] == [
        (1, LAST, Decimal(1))
    ]
    assert report.changed_days == 31
    assert sum_of(table) == api.total
    report = await run(window=9, today=LAST)
    assert report.failed_days > 0
    assert "one slice of rows without a date" in str(report.failures[0].error)
    assert sum_of(table) == api.total


async def test_a_row_of_another_day_fails_its_window(api: Api, run: Sync) -> None:
    """A row of a day that was not requested fails the whole response."""
    outside = (LAST + timedelta(days=1)).isoformat()
    api.alter = lambda rows: [*rows, rows[0] | {"date": outside, "cost": Decimal(1)}]
    report = await run()
    assert (report.new_days, report.failed_days) == (0, 2 * DAYS)
    assert outside in str(report.failures[0].error)


async def test_a_duplicate_row_fails_its_day(api: Api, run: Sync) -> None:
    """A row that a response has twice fails its day only, and is not added twice."""
    api.alter = lambda rows: [*rows, rows[-1]]
    report = await run()
    assert (report.new_days, report.failed_days) == (2 * DAYS - 2, 2)
    assert {failure.query.from_date for failure in report.failures} == {LAST}
    assert "duplicate row" in str(report.failures[0].error)


def test_the_test_server_sends_exact_amounts() -> None:
    """Amounts are JSON numbers with all their digits, as the API sends them."""
    body = rows_response([{"cost": Decimal("0.10000000000000000001")}]).body
    assert isinstance(body, bytes)
    assert b'"cost":0.10000000000000000001' in body
