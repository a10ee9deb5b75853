"""`deadline(...)` around calls and pulls."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from math import inf
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from spot_billing_async import (
    CallEnded,
    ConfigError,
    CostPlan,
    CostQuery,
    DeadlineExceededError,
    Event,
    Failed,
    RetryPolicy,
    SpotBillingClient,
    deadline,
)
from spot_billing_async._core.aio.deadline import hard_end_s
from spot_billing_async._core.http.config import ClientConfig
from tests.support import serve

DAY = date(2024, 1, 1)
SOON_S, LATER_S = 0.02, 3600


@pytest.fixture
async def silent() -> AsyncIterator[tuple[str, list[str]]]:
    """Run a server that accepts requests and never answers, and record the requests."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        await asyncio.sleep(LATER_S)
        return web.Response()

    async with serve(answer) as base_url:
        yield base_url, asked


def test_without_it_a_call_ends_with_its_pull() -> None:
    """Without a block, a call ends with its pull, or never."""
    assert hard_end_s(None) == inf
    assert hard_end_s(7.0) == 7.0


def test_the_nearest_end_counts() -> None:
    """The nearest deadline holds: of the pull, of the block, or of an outer block."""
    now_s = monotonic()
    with deadline(LATER_S):
        assert hard_end_s(7.0) == 7.0
        outer = hard_end_s(None)
        assert now_s + LATER_S <= outer < inf
        with deadline(2 * LATER_S):
            assert hard_end_s(None) == outer
        with deadline(60):
            assert now_s + 60 <= hard_end_s(None) < outer
        assert hard_end_s(None) == outer
    assert hard_end_s(None) == inf


@pytest.mark.parametrize("value", [0, -1, inf, "1", None, True])
def test_other_than_seconds_is_refused(value: Any) -> None:
    """A value that is not a number of seconds above 0 is refused; the error names it."""
    allowed = r"deadline_s must be a number of seconds > 0, got "
    with pytest.raises(ConfigError, match=allowed), deadline(value):
        pass


async def test_a_call_ends_by_then(silent: tuple[str, list[str]]) -> None:
    """A call inside a block ends at the block's deadline; outside, at its client's."""
    base_url, asked = silent
    async with SpotBillingClient("t", base_url=base_url) as client:
        with pytest.raises(DeadlineExceededError, match="or its caller"), deadline(SOON_S):
            await client.accounts.list()
        assert len(asked) == 1


async def test_nothing_is_sent_after_it(silent: tuple[str, list[str]]) -> None:
    """A call that starts after the deadline fails at once, and the hook receives it."""
    base_url, asked = silent
    events: list[Event] = []
    async with SpotBillingClient("t", base_url=base_url, hook=events.append) as client:
        with deadline(SOON_S):
            await asyncio.sleep(SOON_S)
            with pytest.raises(DeadlineExceededError, match="passed before this call began"):
                await client.accounts.list()
    assert asked == []
    (ended,) = events
    assert isinstance(ended, CallEnded)
    assert ended.error == "DeadlineExceededError"


async def test_all_slices_of_a_pull_end_by_then(silent: tuple[str, list[str]]) -> None:
    """Slices in flight and slices not started fail at the deadline, and are returned as failed."""
    base_url, _ = silent
    config = ClientConfig(max_concurrency=2)
    async with SpotBillingClient("t", base_url=base_url, config=config) as client:
        plan = CostPlan.build(["a", "b", "c", "d"], DAY, DAY)
        with deadline(SOON_S):
            async with client.costs.pull(plan) as run:
                outcomes = [outcome async for outcome in run]
    errors = [outcome.error for outcome in outcomes if isinstance(outcome, Failed)]
    assert [type(error) for error in errors] == [DeadlineExceededError] * 4
    assert run.report.failed == 4


async def test_waiting_for_the_quota_counts() -> None:
    """Waiting for the quota counts against the block, though not against the slice's own time."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "3600"})

    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with (
        serve(refuse) as base_url,
        SpotBillingClient("t", base_url=base_url, config=config) as client,
    ):
        with deadline(0.5):
            async with client.costs.pull([CostQuery(account_id="a")]) as run:
                outcome = await anext(run)
    assert isinstance(outcome, Failed)
    assert run.report.requests == 1
