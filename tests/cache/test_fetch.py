"""Shared fetches: who may join one, and what one leaves behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from datetime import date
from math import inf
from typing import Any
from weakref import ref

import pytest

from spot_billing_async import ConfigError, CostItem, DateWindow
from spot_billing_async.cache import CachePolicy, MemoryStore
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.fetch import SharedFetches
from spot_billing_async.cache.policy import utc_now
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models.results import Answer


class Days(dict[str, date]):
    """Days of a fetch, which a weak reference can point to."""


def days(*keys: str) -> Days:
    return Days(dict.fromkeys(keys, DAY))


async def succeeds(_: DateWindow) -> Answer[CostItem]:
    return Answer([], None, None, {})


async def fails(_: DateWindow) -> Answer[CostItem]:
    raise LookupError("a bug")


async def hangs(_: DateWindow) -> Answer[CostItem]:
    await asyncio.Event().wait()
    raise AssertionError


DAY = date(2024, 1, 1)
Work = Callable[[DateWindow], Coroutine[Any, Any, Answer[CostItem]]]


def no_fetches() -> SharedFetches:
    return SharedFetches(MemoryStore(), CachePolicy(), utc_now)


def query(work: Work) -> CacheQuery[CostItem]:
    codec = codec_for(CostItem)
    assert codec is not None
    return CacheQuery(
        operation_id="getCostAnalysis",
        credential="token",
        series=SeriesKey("space", "http://a", "account", None, "type"),
        days=DateWindow(DAY, DAY),
        codec=codec,
        fetch=work,
        clock=asyncio.get_running_loop().time,
        ends_at_s=inf,
        grace_s=1.0,
        timeout_message="late",
        hook=None,
    )


@pytest.mark.parametrize("work", [succeeds, fails, hangs])
async def test_a_fetch_that_ended_leaves_nothing(work: Work) -> None:
    """Memory of a fetch is freed when it has ended and its callers have left."""
    fetches, before = no_fetches(), asyncio.all_tasks()
    made = days("a", "b")
    watched = ref(made)
    fetch = fetches.start(query(work), made)
    fetch.waiter_count += 1
    if work is not hangs:
        failure = await fetch.wait()
        assert isinstance(failure, LookupError) is (work is fails)
        assert fetches.with_key("a") is None
        await asyncio.sleep(0)
    await fetches.leave([fetch])
    assert asyncio.all_tasks() == before
    del made, fetch
    if work is fails:
        del failure
    gc.collect()
    assert watched() is None
    await fetches.close()


async def test_a_fetch_is_joined_by_each_of_its_days_until_it_is_left() -> None:
    """A fetch is found by any of its days; one that its last caller leaves is not joined again."""
    fetches = no_fetches()
    fetch = fetches.start(query(hangs), days("a", "b"))
    assert fetches.with_key("a") is fetches.with_key("b") is fetch
    assert fetches.with_key("c") is None
    fetch.waiter_count += 2
    await fetches.leave([fetch])
    assert fetches.with_key("a") is fetch
    leaving = asyncio.create_task(fetches.leave([fetch]))
    await asyncio.sleep(0)
    assert fetches.with_key("a") is None
    later = fetches.start(query(hangs), days("a"))
    await leaving
    assert fetch.task.cancelled()
    assert fetches.with_key("a") is later
    assert fetches.with_key("b") is None
    await fetches.close()


async def test_closing_ends_every_fetch() -> None:
    """Closing cancels the fetches and waits for their tasks; a caller gets a ConfigError."""
    fetches = no_fetches()
    one, other = (
        fetches.start(query(hangs), days("a")),
        fetches.start(query(succeeds), days("b")),
    )
    await other.wait()
    waiting = asyncio.create_task(one.wait())
    await asyncio.sleep(0)
    await fetches.close()
    assert one.task.cancelled()
    with pytest.raises(ConfigError, match="closed"):
        await waiting
    assert await other.wait() is None
