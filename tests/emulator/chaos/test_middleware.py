"""Simulated limits of a real server: rate limit, pages, maximum rows, latency."""

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.emulator import RateLimit
from spot_billing_async.emulator.chaos.rate_limit import Bursts, LimitDecision, SlidingWindow

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"
COST = "/billingEngine/cost"


@pytest.mark.parametrize(
    ("text", "limit"), [("100/60s", RateLimit(100, 60)), ("5/0.5s", RateLimit(5, 0.5))]
)
def test_a_rate_limit_is_parsed(text: str, limit: RateLimit) -> None:
    """A text has a number of requests, a slash, and seconds."""
    assert RateLimit.parse(text) == limit


@pytest.mark.parametrize("text", ["", "100", "0/60s", "1/0s", "-1/60s", "1/60", "1/60m"])
def test_an_invalid_rate_limit_is_refused(text: str) -> None:
    """The error for an invalid rate limit shows the expected form."""
    with pytest.raises(ValueError, match="100/60s"):
        RateLimit.parse(text)


def test_the_window_slides() -> None:
    """A request is allowed as soon as the oldest leaves the window, not when a period begins."""
    window = SlidingWindow(RateLimit(2, 60))
    assert window.admit(0) == LimitDecision(allowed=True, remaining=1, reset_s=0)
    assert window.admit(10) == LimitDecision(allowed=True, remaining=0, reset_s=50)
    assert window.admit(60) == LimitDecision(allowed=True, remaining=0, reset_s=10)
    assert window.admit(120) == LimitDecision(allowed=True, remaining=1, reset_s=0)


def test_a_retry_before_the_reset_delays_the_reset() -> None:
    """A refused request counts like any other, so that an early retry costs time."""
    window = SlidingWindow(RateLimit(2, 60))
    window.admit(0)
    window.admit(1)
    assert window.admit(2) == LimitDecision(allowed=False, remaining=0, reset_s=59)
    assert window.admit(60.5) == LimitDecision(allowed=False, remaining=0, reset_s=1.5)
    assert window.admit(62).allowed


def test_another_consumer_takes_its_share_of_every_window() -> None:
    """Bursts come at their times, the first before the first request, and count like requests."""
    window = SlidingWindow(RateLimit(4, 60), Bursts(2, 50))
    assert window.admit(0) == LimitDecision(allowed=True, remaining=1, reset_s=0)
    assert window.admit(49) == LimitDecision(allowed=True, remaining=0, reset_s=1)
    # The burst at 50 s fills the window, although the one at -10 s has left it.
    assert window.admit(51) == LimitDecision(allowed=False, remaining=0, reset_s=58)
    assert window.admit(109.5) == LimitDecision(allowed=True, remaining=0, reset_s=0.5)
    # The burst at 110 s counts, although only one of its requests was within the limit.
    assert window.admit(110) == LimitDecision(allowed=False, remaining=0, reset_s=59.5)


def test_a_window_after_a_long_pause() -> None:
    """Only the last burst counts, however many there were during the pause."""
    window = SlidingWindow(RateLimit(4, 60), Bursts(3, 50))
    window.admit(0)
    assert window.admit(60e9) == LimitDecision(allowed=True, remaining=0, reset_s=50)


def test_the_reset_is_never_more_than_the_window() -> None:
    """The reset does not exceed the window even by a rounding error, a second in the header."""
    window = SlidingWindow(RateLimit(1, 60))
    assert window.admit(12345.678).reset_s == 60


async def test_a_rate_limit_without_headers(serve: Serve) -> None:
    """Without headers, only 429s reveal the rate limit."""
    async with serve(rate_limit="1/60s", rate_limit_headers=False) as call:
        answers = [await call("GET", FAMILY) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert not [name for answer in answers for name in answer.headers if "RateLimit" in name]


async def test_another_consumer_on_the_server(serve: Serve) -> None:
    """The other consumer's share is used before the first request, on every route separately."""
    async with serve(rate_limit="10/3600s", other_consumer=0.3) as call:
        for path in (FAMILY, "/billingEngine/account"):
            answer = await call("GET", path)
            assert answer.headers["X-RateLimit-Remaining"] == "6"


async def test_the_rate_limit_headers(serve: Serve) -> None:
    """Every response has the headers, a 429 the documented body; each route has its own limit."""
    async with serve(rate_limit=RateLimit(2, 60)) as call:
        answers = [await call("GET", f"{FAMILY}/x") for _ in range(3)]
        other_id = await call("GET", f"{FAMILY}/y")
        other_method = await call("DELETE", f"{FAMILY}/x")
        no_token = await call("GET", f"{FAMILY}/x", headers={})
        nowhere = await call("PROPFIND", "/nowhere")

    def limits_of(answer: Any) -> tuple[int, str, str]:
        limits = (answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining"))
        return (answer.status, *limits)

    assert [limits_of(answer) for answer in answers] == [
        (404, "2", "1"),
        (404, "2", "0"),
        (429, "2", "0"),
    ]
    assert [int(answer.headers["X-RateLimit-Reset"]) for answer in answers] == [0, 60, 60]
    assert answers[2].body["response"] == {
        "status": {"code": 429, "message": "Too Many Requests"},
        "data": "Rate limit exceeded",
    }
    assert limits_of(other_id)[0] == 429
    assert [limits_of(answer) for answer in (other_method, no_token, nowhere)] == [
        (404, "2", "1"),
        (401, "2", "1"),
        (404, "2", "1"),
    ]


async def test_pages_add_up_to_the_whole(serve: Serve, bill: Bill) -> None:
    """Following nextKey returns every row once and in order, for any number of pages."""
    path = bill(*({"ChargePeriodStart": f"2024-01-{day:02d}"} for day in range(1, 8)))
    async with serve(focus=[path]) as call:
        whole = await call.costs(groupBy="service")
    for size, expected in ((3, 3), (7, 1), (8, 1)):
        async with serve(focus=[path], page_size=size) as call:
            items, pages, key = [], 0, None
            while pages == 0 or key is not None:
                query = {"groupBy": "service"} | ({"paginationKey": key} if key else {})
                answer = await call("GET", COST, params=query)
                items += answer.items
                info = answer.body["response"]["paginationInfo"]
                assert info["totalCount"] == 7
                key, pages = info["nextKey"], pages + 1
        assert (items, pages) == (whole, expected)


async def test_every_list_has_pages(serve: Serve) -> None:
    """Accounts and families are split into pages like costs."""
    async with serve(page_size=2) as call:
        for path in ("/billingEngine/account", FAMILY):
            answer = await call("GET", path)
            assert len(answer.items) == 2
            assert answer.body["response"]["paginationInfo"]["nextKey"] == "2"


@pytest.mark.parametrize("key", ["", "x", "-2", "0", "1", "2.0", "100", "9" * 99])
async def test_an_unknown_pagination_key(serve: Serve, key: str) -> None:
    """A key that no page returned is refused with a 400."""
    async with serve(page_size=2) as call:
        answer = await call("GET", FAMILY, params={"paginationKey": key})
    assert (answer.status, answer.fields) == (400, ["query.paginationKey"])


async def test_a_query_with_too_many_rows_is_refused(serve: Serve, bill: Bill) -> None:
    """The limit counts the rows of all pages; a query that reaches it exactly is answered."""
    path = bill(*({"ChargePeriodStart": f"2024-01-{day:02d}"} for day in range(1, 8)))
    async with serve(focus=[path], max_rows=6, page_size=2) as call:
        answer = await call("GET", COST)
        assert (answer.status, answer.fields) == (413, ["query"])
        fitting = await call("GET", COST, params={"toDate": "2024-01-06"})
    assert (fitting.status, len(fitting.items)) == (200, 2)


async def test_latency(serve: Serve, bill: Bill) -> None:
    """Every request takes at least the latency."""
    async with serve(focus=[bill({})], latency="50ms") as call:
        started = time.monotonic()
        await call.costs()
        assert time.monotonic() - started >= 0.05


async def test_money_is_a_json_number_with_every_digit(serve: Serve, bill: Bill) -> None:
    """Every amount, also zero or a small one, is a JSON number with all digits."""
    path = bill(
        {"BilledCost": "0.00000008", "ServiceName": "A"},
        {"BilledCost": "0.0", "ServiceName": "B"},
        {"BilledCost": "100", "ServiceName": "C"},
    )
    async with serve(focus=[path]) as call:
        items = await call.costs(groupBy="service")
    assert [item["cost"] for item in items] == [Decimal("0.00000008"), 0, 100]
