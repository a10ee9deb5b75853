"""What is remembered of the database, and for how long."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async.emulator.api import routes
from spot_billing_async.emulator.data import query_cache as memory
from spot_billing_async.emulator.data.query_cache import Known, Memory

Serve = Callable[..., AbstractAsyncContextManager[Any]]
Bill = Callable[..., Path]

FAMILY = "/billingEngine/family"


def test_a_result_holds_until_something_changes() -> None:
    """Every change forgets all results."""
    kept = Memory()
    known = Known(kept.epoch, ["row"])
    kept.keep("question", known)
    assert kept.recall("question") == known
    assert kept.recall("another") is None
    with kept.changing():
        assert kept.recall("question") is None
    assert kept.recall("question") is None


def test_what_was_read_beside_a_change_is_not_kept() -> None:
    """Whether its reading began before the change, or while the change came to be seen."""
    kept = Memory()
    before = Known(kept.epoch, ["old"])
    with kept.changing():
        kept.keep("before", before)
        meanwhile = Known(kept.epoch, ["old or new"])
        kept.keep("at once", meanwhile)
        assert kept.recall("at once") is None
    kept.keep("before", before)
    kept.keep("meanwhile", meanwhile)
    assert [kept.recall(name) for name in ("before", "at once", "meanwhile")] == [None] * 3


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where too many rows would be kept, the older are forgotten."""
    monkeypatch.setattr(memory, "_MOST_ROWS", 5)
    kept = Memory()
    for name in ("a", "b"):
        kept.keep(name, Known(0, ["row", "row"]))
    assert kept.recall("a") is None
    assert kept.recall("b") is not None


@pytest.mark.parametrize("most", [0, 1000])
async def test_any_days_are_answered_alike(
    serve: Serve, bill: Bill, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Both ends count, whether the rows are remembered or too many for that."""
    monkeypatch.setattr(routes, "_MOST_REMEMBERED", most)
    days = [f"2024-01-{day:02d}" for day in range(1, 6)]
    path = bill(*({"ChargePeriodStart": day, "BilledCost": day[-1]} for day in days))
    async with serve(focus=[path]) as call:
        for group in ({}, {"groupBy": "service"}, {"groupBy": "family", "accountId": "007"}):

            async def told(group: dict[str, str] = group, **asked: str) -> list[str]:
                return [item["date"] for item in await call.costs(**asked, **group)]

            assert await told() == days
            assert await told(fromDate=days[1], toDate=days[3]) == days[1:4]
            assert await told(fromDate=days[4]) == days[4:]
            assert await told(toDate=days[0]) == days[:1]
            assert await told(fromDate="2024-02-01") == []


async def test_a_write_is_seen_by_the_next_read(serve: Serve, bill: Bill) -> None:
    """What was answered before a family changed is not answered after."""
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
