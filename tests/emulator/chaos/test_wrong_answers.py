"""Lies that a list tells: everything is in order, but for the rows."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.emulator import Fault

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

COST = "/billingEngine/cost"
DAYS = range(1, 8)


@pytest.fixture
def week(bill: Bill) -> Path:
    """A row a day, each of another amount."""
    return bill(
        *({"ChargePeriodStart": f"2024-01-{day:02d}", "BilledCost": f"{day}.5"} for day in DAYS)
    )


async def page(call: Any, key: int | None = None) -> tuple[list[int], dict[str, Any]]:
    """The days of a page, and what it says besides."""
    query = {} if key is None else {"paginationKey": str(key)}
    response = (await call("GET", COST, params=query)).body["response"]
    for item in response["items"]:
        assert item["cost"] == Decimal(f"{int(item['date'][-2:])}.5")
    return [int(item["date"][-2:]) for item in response.pop("items")], response


def paging(response: dict[str, Any]) -> tuple[Any, ...]:
    info = response["paginationInfo"]
    return info.get("totalCount"), info["nextKey"], info["previousKey"]


async def test_a_dropped_page(serve: Serve, week: Path) -> None:
    """The key leads past the next page, or to the end where that is the last one."""
    async with serve(focus=[week], page_size=3, faults="dropped-page=1") as call:
        days, said = await page(call)
        assert (days, said["count"], paging(said)) == ([1, 2, 3], 3, (7, "6", None))
        days, said = await page(call, 3)
        assert (days, said["count"], paging(said)) == ([4, 5, 6], 3, (7, None, None))
        days, said = await page(call, 6)
        assert (days, said["count"], paging(said)) == ([7], 1, (7, None, "3"))


async def test_a_repeated_page(serve: Serve, week: Path) -> None:
    """The rows of the page before, and all else as it would be."""
    async with serve(focus=[week], page_size=3, faults="repeated-page=1") as call:
        days, said = await page(call)
        assert (days, said["count"], paging(said)) == ([1, 2, 3], 3, (7, "3", None))
        days, said = await page(call, 3)
        assert (days, said["count"], paging(said)) == ([1, 2, 3], 3, (7, "6", None))
        days, said = await page(call, 6)
        assert (days, said["count"], paging(said)) == ([4, 5, 6], 3, (7, None, "3"))


async def test_a_short_count(serve: Serve, week: Path) -> None:
    """The first of the rows, and the count of all of them."""
    async with serve(focus=[week], faults="short-count=1") as call:
        days, said = await page(call)
        assert said["count"] == 7
        assert days == list(DAYS[: len(days)])
        assert len(days) < 7


@pytest.mark.parametrize("size", [None, 3])
async def test_a_lost_row(serve: Serve, week: Path, size: int | None) -> None:
    """One is missing, and every count agrees."""
    whole = list(DAYS[: size or 7])
    async with serve(focus=[week], page_size=size, faults="lost-row=1") as call:
        days, said = await page(call)
    assert said["count"] == len(days) == len(whole) - 1
    assert set(days) < set(whole)
    if size:
        assert paging(said) == (6, "3", None)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.is_lie])
async def test_no_room_for_a_lie(serve: Serve, week: Path, fault: Fault) -> None:
    """A list without rows, one without pages, and what is changed are told as they are."""
    async with serve(focus=[week], faults=f"{fault.value}=1") as call:
        empty = await call("GET", COST, params={"fromDate": "2030-01-01"})
        assert empty.items == []
        if fault in {Fault.DROPPED_PAGE, Fault.REPEATED_PAGE}:
            assert (await page(call))[0] == list(DAYS)
        body = {"family": {"name": "New", "accountIds": []}}
        assert len((await call("POST", "/billingEngine/family", json=body)).items) == 1
        assert (await call("GET", "/billingEngine/family/nowhere")).status == 404


async def test_the_same_seed_tells_the_same_lies(serve: Serve, week: Path) -> None:
    """Which request meets one, and which row is lost, follow from the seed."""

    async def days_of(seed: int) -> list[list[int]]:
        async with serve(focus=[week], seed=seed, faults="lost-row=0.4,short-count=0.3") as call:
            return [(await page(call))[0] for _ in range(20)]

    first = await days_of(1)
    assert await days_of(1) == first
    assert await days_of(2) != first
    lost = {tuple(set(DAYS) - set(days)) for days in first}
    assert len(lost) > 4


async def test_pages_need_not_count_in_all(serve: Serve, week: Path) -> None:
    """Without the total, nothing gives a dropped page away but what is missing."""
    async with serve(focus=[week], page_size=3, total_count=False) as call:
        days, said = await page(call)
    assert (days, said["paginationInfo"]) == ([1, 2, 3], {"nextKey": "3", "previousKey": None})
