"""The limit of one attempt: the estimate behind it, and the watch that applies it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from math import inf

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    DeadlineExceededError,
    RetryPolicy,
    SpotBillingClient,
)
from spot_billing_async._core.http.attempt import FirstByteEstimate
from spot_billing_async._core.protocol.operations import GET_COSTS, LIST_ACCOUNTS
from spot_billing_async._core.protocol.request import Request, build_request
from tests.support import http, serve, serve_streams

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
DAY = date(2025, 1, 1)
TIMES = st.floats(0.001, 100)
LEFT = 10_000.0


def query(days: int = 1) -> Request:
    last = DAY + timedelta(days - 1)
    parameters = {"accountId": "a", "fromDate": str(DAY), "toDate": str(last)}
    return build_request(GET_COSTS, "http://h", "/cost", path_ids={}, query=parameters)


def estimate_of(*times_s: float, days: int = 1) -> FirstByteEstimate:
    estimate = FirstByteEstimate(5.0)
    for waited_s in times_s:
        estimate.add(query(days), waited_s)
    return estimate


def test_an_unknown_operation_has_the_least_limit() -> None:
    """Without a response of the operation so far, the limit is 5 s, doubled after each timeout."""
    estimate = estimate_of(60.0)
    request = build_request(LIST_ACCOUNTS, "http://h", "/account", path_ids={}, query={})
    assert [estimate.limit_s(request, timeouts, LEFT) for timeouts in range(4)] == [5, 10, 20, 40]


def test_a_short_deadline_is_halved_only_by_evidence() -> None:
    """Near the deadline, an attempt is given up only if other responses came far sooner."""
    assert FirstByteEstimate(5.0).limit_s(query(), 0, 5.0) == inf
    assert estimate_of(0.1).limit_s(query(), 0, 5.0) == 2.5
    assert estimate_of(2.0).limit_s(query(), 0, 5.0) == inf
    assert estimate_of(0.1).limit_s(query(), 1, 5.0) == inf


@given(st.lists(TIMES, min_size=1, max_size=50), st.integers(0, 4), st.floats(0.1, LEFT))
def test_a_limit_leaves_as_much_time_as_it_takes(
    times_s: list[float], timeouts: int, given_s: float
) -> None:
    """The next attempt has no less time than this one, unless this one has all the time."""
    limit_s = estimate_of(*times_s).limit_s(query(), timeouts, given_s)
    assert limit_s == inf or limit_s <= given_s / 2


@given(st.floats(0.001, 100), st.integers(1, 90), st.integers(1, 400))
def test_steady_times_stay_below_the_limit(waited_s: float, known: int, days: int) -> None:
    """A server whose time grows with the days of the query, or not at all, is not given up."""
    estimate = estimate_of(*[waited_s] * 50, days=known)
    assert estimate.limit_s(query(days), 0, inf) >= waited_s * max(1, days / known)


@given(st.lists(TIMES, max_size=50), TIMES)
def test_one_slow_response_raises_the_limit_above_it(times_s: list[float], slow_s: float) -> None:
    """After any history, one slow response is enough for the next to be waited for as long."""
    assert estimate_of(*times_s, slow_s).limit_s(query(), 0, inf) >= min(slow_s, LEFT)


@asynccontextmanager
async def client_of(
    base_url: str, attempts: int = 4, **limits: float
) -> AsyncIterator[SpotBillingClient]:
    config = ClientConfig(retry=RetryPolicy(max_attempts=attempts), **limits)  # type: ignore[arg-type]  # by name
    async with SpotBillingClient("t", base_url=base_url, config=config) as client:
        yield client


class Deaf:
    """Server that leaves its first requests without a response.

    Attributes:
        requests: requests received so far.
    """

    def __init__(self, silent: int, head: bytes = b"") -> None:
        self._silent = silent
        self._head = head
        self.requests = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            writer.write(self._head if self.requests <= self._silent else http(GOOD))


@pytest.mark.parametrize("head", [b"", http(GOOD)[:-20]], ids=["no byte", "part of the body"])
async def test_a_silent_attempt_is_sent_again(head: bytes) -> None:
    """An attempt on which nothing more arrives is given up, and the next one is answered."""
    api = Deaf(2, head)
    async with (
        serve_streams(api.handle) as port,
        client_of(f"http://127.0.0.1:{port}", attempt_timeout_s=0.1) as client,
    ):
        assert len(await client.costs.get("a", DAY, DAY)) == 1
    assert api.requests == 3


async def test_the_last_attempt_has_all_the_time() -> None:
    """After `max_attempts` - 1 silent attempts, each twice as long, the last one has the rest."""
    api = Deaf(9)
    async with serve_streams(api.handle) as port:
        base_url = f"http://127.0.0.1:{port}"
        async with client_of(base_url, 3, attempt_timeout_s=0.05, deadline_s=0.6) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.costs.get("a", DAY, DAY)
    assert api.requests == caught.value.attempts == 3
    first_s, second_s = (float(text.split()[-2]) for text in caught.value.attempt_errors[:2])
    assert first_s * 2 == pytest.approx(second_s, abs=0.03)


@pytest.mark.parametrize("reserve", [3, 40])
async def test_a_slow_server_is_no_outage(reserve: int) -> None:
    """Slices of a server that always takes longer than the first limit are all fetched."""

    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.3)
        return web.Response(body=GOOD)

    config = ClientConfig(attempt_timeout_s=0.05, retry=RetryPolicy(budget_reserve=reserve))
    plan = CostPlan.build([f"a{n}" for n in range(40)], DAY, DAY, "whole")
    async with (
        serve(slow) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config) as client,
        client.costs.pull(plan, deadline_s=60.0) as run,
    ):
        assert len([outcome async for outcome in run]) == 40
    assert run.report.ok == 40


async def test_a_change_is_not_sent_again() -> None:
    """A request that is not idempotent has all the time, as the server may act on it."""
    api = Deaf(9)
    async with serve_streams(api.handle) as port:
        base_url = f"http://127.0.0.1:{port}"
        async with client_of(base_url, attempt_timeout_s=0.05, deadline_s=0.4) as client:
            with pytest.raises(DeadlineExceededError):
                await client.families.create(name="f")
    assert api.requests == 1


async def test_without_a_retry_in_the_budget_an_attempt_goes_on() -> None:
    """A server that slows down for everybody is not asked more often than the budget allows."""
    requests = 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        await asyncio.sleep(0.5)
        return web.Response(body=GOOD)

    config = ClientConfig(attempt_timeout_s=0.05, retry=RetryPolicy(budget_reserve=3))
    plan = CostPlan.build([f"a{n}" for n in range(20)], DAY, DAY, "whole")
    async with (
        serve(slow) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
    assert run.report.ok == 20
    assert requests <= 20 + 4


async def test_a_short_deadline_is_kept_by_an_unanswered_request() -> None:
    """With responses of others as evidence, a request is sent again at half of its deadline."""
    asked: set[str] = set()

    async def handler(request: web.Request) -> web.Response:
        account_id = request.query["accountId"]
        if account_id.endswith("0") and account_id not in asked:
            asked.add(account_id)
            await asyncio.Event().wait()
        return web.Response(body=GOOD)

    plan = CostPlan.build([f"a{n}" for n in range(40)], DAY, DAY, "whole")
    async with (
        serve(handler) as base_url,
        client_of(base_url, deadline_s=2.0) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
    assert run.report.failed == 0
    assert run.report.retries == len(asked) == 4


async def test_a_blocked_loop_is_no_silent_server() -> None:
    """Time in which the host's own code blocks the event loop does not end an attempt."""
    arrived = asyncio.Event()
    requests = 0

    async def handler(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        arrived.set()
        await asyncio.sleep(0.01)
        return web.Response(body=GOOD)

    async with serve(handler) as base_url, client_of(base_url, attempt_timeout_s=0.4) as client:
        call = asyncio.create_task(client.costs.get("a", DAY, DAY))
        await arrived.wait()
        time.sleep(1.0)  # noqa: ASYNC251  blocks the loop on purpose
        assert len(await call) == 1
    assert requests == 1


@pytest.mark.parametrize("own_session", [False, True])
@pytest.mark.parametrize("steps", range(6))
async def test_a_cancelled_caller_stays_cancelled(steps: int, own_session: bool) -> None:
    """A caller who is cancelled about when its attempt is given up is cancelled, not answered."""
    api = Deaf(99)
    async with serve_streams(api.handle) as port, aiohttp.ClientSession() as session:
        config = ClientConfig(attempt_timeout_s=0.05)
        async with SpotBillingClient(
            "t",
            base_url=f"http://127.0.0.1:{port}",
            config=config,
            session=session if own_session else None,
        ) as client:
            watch = client._shared.attempts
            call = asyncio.create_task(client.costs.get("a", DAY, DAY))
            while not watch._running:  # noqa: ASYNC110  no event for it
                await asyncio.sleep(0.001)
            next(iter(watch._running)).silent_s = 9.0
            watch._look()
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert call.cancelled()
            assert not watch._running


async def test_a_kept_connection_that_ran_out_of_time_is_named() -> None:
    """The error of a call that ran out of time says if its connection may have been dead."""
    answered = False

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal answered
        await reader.readuntil(b"\r\n\r\n")
        if not answered:
            answered = True
            writer.write(http(GOOD))
        await asyncio.Event().wait()

    messages = []
    async with (
        serve_streams(once) as port,
        client_of(f"http://127.0.0.1:{port}", 1, deadline_s=0.3) as client,
    ):
        await client.costs.get("a", DAY, DAY)
        for _ in range(2):
            with pytest.raises(DeadlineExceededError) as caught:
                await client.costs.get("a", DAY, DAY)
            messages.append(caught.value.attempt_errors[-1])
    assert [each.endswith("(on a kept connection)") for each in messages] == [True, False]


@pytest.mark.parametrize("value", [0, -1, "1", True])
@pytest.mark.parametrize("name", ["attempt_timeout_s", "keepalive_s"])
def test_limits_are_seconds(name: str, value: object) -> None:
    """A limit that is not a number of seconds above 0 is refused by name."""
    with pytest.raises(ConfigError, match=f"{name} must be a number of seconds > 0, got"):
        ClientConfig(**{name: value})  # type: ignore[arg-type]  # what is tested
