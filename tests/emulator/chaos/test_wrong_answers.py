"""Wrong answers: lists that are valid in form, but contain wrong rows."""

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
    """Write a bill with one row per day, each with a different amount."""
    return bill(
        *({"ChargePeriodStart": f"2024-01-{day:02d}", "BilledCost": f"{day}.5"} for day in DAYS)
    )


async def get_page(call: Any, key: int | None = None) -> tuple[list[int], dict[str, Any]]:
    """Return the days of a page, and its other response fields."""
    query = {} if key is None else {"paginationKey": str(key)}
    response = (await call("GET", COST, params=query)).body["response"]
    for item in response["items"]:
        assert item["cost"] == Decimal(f"{int(item['date'][-2:])}.5")
    return [int(item["date"][-2:]) for item in response.pop("items")], response


def pagination(response: dict[str, Any]) -> tuple[Any, ...]:
    info = response["paginationInfo"]
    return info.get("totalCount"), info["nextKey"], info["previousKey"]


async def test_a_dropped_page(serve: Serve, week: Path) -> None:
    """The key of the next page skips that page; it is null if the skipped page is the last."""
    async with serve(focus=[week], page_size=3, faults="dropped-page=1") as call:
        days, response = await get_page(call)
        assert (days, response["count"], pagination(response)) == ([1, 2, 3], 3, (7, "6", None))
        days, response = await get_page(call, 3)
        assert (days, response["count"], pagination(response)) == ([4, 5, 6], 3, (7, None, None))
        days, response = await get_page(call, 6)
        assert (days, response["count"], pagination(response)) == ([7], 1, (7, None, "3"))


async def test_a_repeated_page(serve: Serve, week: Path) -> None:
    """A page repeats the rows of the previous page; all other fields are correct."""
    async with serve(focus=[week], page_size=3, faults="repeated-page=1") as call:
        days, response = await get_page(call)
        assert (days, response["count"], pagination(response)) == ([1, 2, 3], 3, (7, "3", None))
        days, response = await get_page(call, 3)
        assert (days, response["count"], pagination(response)) == ([1, 2, 3], 3, (7, "6", None))
        days, response = await get_page(call, 6)
        assert (days, response["count"], pagination(response)) == ([4, 5, 6], 3, (7, None, "3"))


async def test_a_short_count(serve: Serve, week: Path) -> None:
    """A list has only its first rows, but the count of all of them."""
    async with serve(focus=[week], faults="short-count=1") as call:
        days, response = await get_page(call)
        assert response["count"] == 7
        assert days == list(DAYS[: len(days)])
        assert len(days) < 7


@pytest.mark.parametrize("size", [None, 3])
async def test_a_lost_row(serve: Serve, week: Path, size: int | None) -> None:
    """A list lacks one row, and every count agrees with that."""
    whole = list(DAYS[: size or 7])
    async with serve(focus=[week], page_size=size, faults="lost-row=1") as call:
        days, response = await get_page(call)
    assert response["count"] == len(days) == len(whole) - 1
    assert set(days) < set(whole)
    if size:
        assert pagination(response) == (6, "3", None)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault.is_wrong_answer])
async def test_a_wrong_answer_that_does_not_apply(serve: Serve, week: Path, fault: Fault) -> None:
    """Empty lists, lists without pages, and responses to changes stay correct."""
    async with serve(focus=[week], faults=f"{fault.value}=1") as call:
        empty = await call("GET", COST, params={"fromDate": "2030-01-01"})
        assert empty.items == []
        if fault in {Fault.DROPPED_PAGE, Fault.REPEATED_PAGE}:
            assert (await get_page(call))[0] == list(DAYS)
        body = {"family": {"name": "New", "accountIds": []}}
        assert len((await call("POST", "/billingEngine/family", json=body)).items) == 1
        assert (await call("GET", "/billingEngine/family/nowhere")).status == 404


async def test_the_same_seed_gives_the_same_wrong_answers(serve: Serve, week: Path) -> None:
    """The seed determines the affected requests and the lost rows."""

    async def days_of(seed: int) -> list[list[int]]:
        async with serve(focus=[week], seed=seed, faults="lost-row=0.4,short-count=0.3") as call:
            return [(await get_page(call))[0] for _ in range(20)]

    first = await days_of(1)
    assert await days_of(1) == first
    assert await days_of(2) != first
    lost = {tuple(set(DAYS) - set(days)) for days in first}
    assert len(lost) > 4


async def test_pages_without_a_total_count(serve: Serve, week: Path) -> None:
    """A page without a total count has only its keys."""
    async with serve(focus=[week], page_size=3, total_count=False) as call:
        days, response = await get_page(call)
    assert (days, response["paginationInfo"]) == ([1, 2, 3], {"nextKey": "3", "previousKey": None})
