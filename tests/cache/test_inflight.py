"""Shared fetches: who may join one, and what one leaves behind."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from datetime import date
from typing import Any
from weakref import ref

import pytest

from spot_billing_async import ConfigError
from spot_billing_async.cache.inflight import InflightFetches
from spot_billing_async.cache.loader import LoadedDays


class Days(dict[str, date]):
    """Days of a fetch, which a weak reference can point to."""


def days(*keys: str) -> Days:
    return Days(dict.fromkeys(keys, date(2024, 1, 1)))


async def succeeds(loaded: LoadedDays) -> None:
    loaded.values["a"] = b"[]"


async def fails(_: LoadedDays) -> None:
    raise LookupError("a bug")


async def hangs(_: LoadedDays) -> None:
    await asyncio.Event().wait()


Work = Callable[[LoadedDays], Coroutine[Any, Any, None]]


@pytest.mark.parametrize("work", [succeeds, fails, hangs])
async def test_a_fetch_that_ended_leaves_nothing(work: Work) -> None:
    """Memory of a fetch is freed when it has ended and its callers have left."""
    fetches, before = InflightFetches(), asyncio.all_tasks()
    made = days("a", "b")
    watched = ref(made)
    fetch = fetches.start("token", made, work)
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
    fetches = InflightFetches()
    fetch = fetches.start("token", days("a", "b"), hangs)
    assert fetches.with_key("a") is fetches.with_key("b") is fetch
    assert fetches.with_key("c") is None
    fetch.waiter_count += 2
    await fetches.leave([fetch])
    assert fetches.with_key("a") is fetch
    leaving = asyncio.create_task(fetches.leave([fetch]))
    await asyncio.sleep(0)
    assert fetches.with_key("a") is None
    later = fetches.start("token", days("a"), hangs)
    await leaving
    assert fetch.task.cancelled()
    assert fetches.with_key("a") is later
    assert fetches.with_key("b") is None
    await fetches.close()


async def test_closing_ends_every_fetch() -> None:
    """Closing cancels the fetches and waits for their tasks; a caller gets a ConfigError."""
    fetches = InflightFetches()
    one, other = (
        fetches.start("token", days("a"), hangs),
        fetches.start("token", days("b"), succeeds),
    )
    await other.wait()
    waiting = asyncio.create_task(one.wait())
    await asyncio.sleep(0)
    await fetches.close()
    assert one.task.cancelled()
    with pytest.raises(ConfigError, match="closed"):
        await waiting
    assert await other.wait() is None
