"""Cache of database results: contents, invalidation and size."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.emulator.api import routes
from spot_billing_async.emulator.data import query_cache
from spot_billing_async.emulator.data.query_cache import CachedResult, QueryCache

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"


def test_a_result_is_valid_until_the_next_write() -> None:
    """Every write invalidates all results."""
    cache = QueryCache()
    result = CachedResult(cache.epoch, ["row"])
    cache.put("question", result)
    assert cache.get("question") == result
    assert cache.get("another") is None
    with cache.invalidating():
        assert cache.get("question") is None
    assert cache.get("question") is None


def test_a_result_read_during_a_write_is_not_cached() -> None:
    """A result is not cached if its read began before or during the commit."""
    cache = QueryCache()
    before = CachedResult(cache.epoch, ["old"])
    with cache.invalidating():
        cache.put("before", before)
        during = CachedResult(cache.epoch, ["old or new"])
        cache.put("inside", during)
        assert cache.get("inside") is None
    cache.put("before", before)
    cache.put("during", during)
    assert [cache.get(name) for name in ("before", "inside", "during")] == [None] * 3


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older results are dropped when the cache has too many rows."""
    monkeypatch.setattr(query_cache, "_MAX_ROWS", 5)
    cache = QueryCache()
    for name in ("a", "b"):
        cache.put(name, CachedResult(0, ["row", "row"]))
    assert cache.get("a") is None
    assert cache.get("b") is not None


@pytest.mark.parametrize("max_rows", [0, 1000])
async def test_cached_and_uncached_queries_agree(
    serve: Serve, bill: Bill, monkeypatch: pytest.MonkeyPatch, max_rows: int
) -> None:
    """Both dates are inclusive, with cached rows and with too many rows to cache."""
    monkeypatch.setattr(routes, "_MAX_CACHED_ROWS", max_rows)
    days = [f"2024-01-{day:02d}" for day in range(1, 6)]
    path = bill(*({"ChargePeriodStart": day, "BilledCost": day[-1]} for day in days))
    async with serve(focus=[path]) as call:
        for group in ({}, {"groupBy": "service"}, {"groupBy": "family", "accountId": "007"}):

            async def days_of(group: dict[str, str] = group, **dates: str) -> list[str]:
                return [item["date"] for item in await call.costs(**dates, **group)]

            assert await days_of() == days
            assert await days_of(fromDate=days[1], toDate=days[3]) == days[1:4]
            assert await days_of(fromDate=days[4]) == days[4:]
            assert await days_of(toDate=days[0]) == days[:1]
            assert await days_of(fromDate="2024-02-01") == []


async def test_a_read_sees_the_previous_write(serve: Serve, bill: Bill) -> None:
    """A query after a change of a family returns the new state."""
    async with serve(focus=[bill({})]) as call:
        query = {"groupBy": "family"}
        names = [[item["family"] for item in await call.costs(**query)] for _ in range(2)]
        body = {"family": {"name": "One", "accountIds": ["007"]}}
        (family,) = (await call("POST", FAMILY, json=body)).items
        names.append([item["family"] for item in await call.costs(**query)])
        body = {"family": {"name": "Two"}}
        family_id = family.get("familyId", family.get("id"))
        await call("PUT", f"{FAMILY}/{family_id}", json=body)
        names.append([item["family"] for item in await call.costs(**query)])
    assert names == [[None], [None], ["One"], ["Two"]]
