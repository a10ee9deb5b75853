"""`window="auto"`: as wide as the server bears, and what it does not bear is remembered."""

from datetime import timedelta
from decimal import Decimal
from math import ceil, log2
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import ClientConfig, RetryPolicy, ServerError
from spot_billing_async.table import sync
from tests.table.api import DAYS, FIRST, LAST, Api, answer, client_of
from tests.table.conftest import Sync, contents_of, rows_of, sum_of

STATUSES = [413, 500, 503]


def refuse_above(days: int, status: int, account: str | None = None) -> Any:
    def refuse(who: str, asked_days: int) -> web.Response | None:
        is_meant = account is None or who == account
        return web.Response(status=status) if is_meant and asked_days > days else None

    return refuse


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("limit", [1, 13, 46, DAYS])
async def test_a_window_that_is_too_wide_is_halved(
    api: Api, run: Sync, table: str, status: int, limit: int
) -> None:
    """What the first account does not bear is found by halving it, and the other is spared that."""
    api.refuse = refuse_above(limit, status)
    report = await run()
    assert report.complete
    assert len(contents_of(table)) == 4 * DAYS
    assert sum_of(table) == api.total
    halvings = ceil(log2(DAYS / limit))
    assert report.requests <= halvings + 2 * ceil(DAYS / limit) * 1.2 + 5


@pytest.mark.parametrize("limit", [9, 20, 30])
async def test_what_was_learned_is_remembered(api: Api, run: Sync, limit: int) -> None:
    """The next run asks no window that fails."""
    api.refuse = refuse_above(limit, 413)
    await run(today=LAST)
    api.asked.clear()
    report = await run(today=LAST)
    assert report.unchanged_days == 2 * 45
    assert max((last - first).days + 1 for _, first, last, _ in api.asked) <= limit
    assert report.requests <= 1.2 * 2 * ceil(45 / limit)


async def test_a_limit_of_one_account_is_its_own(table: str) -> None:
    """Others that bear more are asked for more, then and the next time."""
    api = Api(accounts=8)
    narrow = api.accounts[0]
    api.refuse = refuse_above(15, 413, narrow)
    scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
    async with client_of(api) as client:
        for days in (DAYS, 45):
            report = await sync(client, table, **scope, group_by="service", today=LAST)
            assert report.complete
            widths = [(last - first).days + 1 for who, first, last, _ in api.asked if who != narrow]
            assert widths == [days] * 7
            api.asked.clear()


async def test_a_body_that_is_too_large_is_halved(api: Api, table: str) -> None:
    """What the client itself refuses to read counts as too wide."""
    config = ClientConfig(max_response_bytes=6000, retry=RetryPolicy(max_attempts=1))
    async with client_of(api, config) as client:
        scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
        report = await sync(client, table, **scope, group_by="service")
    assert report.complete
    assert report.requests > 2
    assert sum_of(table) == api.total


async def test_a_deadline_that_passes_is_halved(api: Api, table: str) -> None:
    """A server that is too slow for a wide window is asked for narrower ones."""
    config = ClientConfig(deadline_s=0.3, retry=RetryPolicy(max_attempts=1))
    api.stall = lambda days: days > 50
    async with client_of(api, config) as client:
        scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
        report = await sync(client, table, **scope, group_by="service")
    assert (report.complete, report.requests) == (True, 5)
    assert sum_of(table) == api.total


async def test_a_day_that_fails_alone_is_a_failure(api: Api, run: Sync) -> None:
    """It is named with what was kept back for it; the other account is complete."""
    api.refuse = refuse_above(0, 413, api.accounts[0])
    report = await run()
    assert (report.failed_days, report.new_days) == (DAYS, DAYS)
    (failure,) = report.failures
    assert (failure.query.from_date, failure.query.to_date) == (FIRST, LAST)


async def test_a_5xx_on_one_account_alone_is_its_width(api: Api, run: Sync, table: str) -> None:
    """The server answers the other, so it works: the window is halved at once."""
    api.refuse = refuse_above(50, 502, api.accounts[1])
    report = await run()
    assert (report.complete, report.requests) == (True, 1 + 1 + 2)
    assert sum_of(table) == api.total


async def test_a_dead_server_is_left_alone(api: Api, run: Sync) -> None:
    """Where nothing is answered, one window alone is tried narrower; then all have failed."""
    api.refuse = refuse_above(0, 503)
    report = await run()
    assert (report.failed_days, report.new_days) == (2 * DAYS, 0)
    assert report.requests == 2 + 7  # 91 days are a day after seven halvings
    assert {type(failure.error) for failure in report.failures} == {ServerError}


async def test_another_error_is_not_asked_again(api: Api, run: Sync) -> None:
    """A refusal that does not depend on the width costs one request."""
    api.refuse = refuse_above(0, 404, api.accounts[0])
    report = await run()
    assert (report.failed_days, report.requests) == (DAYS, 2)


async def test_a_window_of_the_users_is_kept(api: Api, run: Sync) -> None:
    """With a width of the user's own nothing is halved."""
    api.refuse = refuse_above(29, 413)
    report = await run(window="month")
    assert (report.requests, report.failed_days) == (6, 2 * 62)
    assert len(report.failures) == 4


async def test_the_cap_holds_while_halving(api: Api, run: Sync) -> None:
    """What is left when the requests are spent is not started, and the books add up."""
    api.refuse = refuse_above(10, 413)
    report = await run(max_requests=12)
    assert (report.requests, len(api.asked)) == (12, 12)
    assert report.not_started_days > 0
    assert report.failed_days == 0


async def test_rows_without_a_day_are_asked_day_by_day(api: Api, run: Sync, table: str) -> None:
    """The table is one of days, so a wide answer that does not tell them is no use; once."""
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


async def test_rows_without_a_day_keep_a_window_of_the_users(
    api: Api, run: Sync, table: str
) -> None:
    """A month is then one slice, which is replaced whole."""
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
    assert "one slice of rows without a day" in str(report.failures[0].error)
    assert sum_of(table) == api.total


async def test_a_row_that_was_not_asked_for_fails_its_window(api: Api, run: Sync) -> None:
    """It would be counted with another day, or twice."""
    outside = (LAST + timedelta(days=1)).isoformat()
    api.alter = lambda rows: [*rows, rows[0] | {"date": outside, "cost": Decimal(1)}]
    report = await run()
    assert (report.new_days, report.failed_days) == (0, 2 * DAYS)
    assert outside in str(report.failures[0].error)


async def test_a_repeated_row_fails_its_day(api: Api, run: Sync) -> None:
    """A page that came twice is no larger bill."""
    api.alter = lambda rows: [*rows, rows[-1]]
    report = await run()
    assert (report.new_days, report.failed_days) == (2 * DAYS - 2, 2)
    assert {failure.query.from_date for failure in report.failures} == {LAST}
    assert "twice" in str(report.failures[0].error)


def test_the_answer_of_these_tests_is_one_of_the_api() -> None:
    """Amounts are JSON numbers with all their digits."""
    body = answer([{"cost": Decimal("0.10000000000000000001")}]).body
    assert isinstance(body, bytes)
    assert b'"cost":0.10000000000000000001' in body
