"""Exact sums of real bills, computed independently of this project."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

Serve = Callable[..., AbstractAsyncContextManager[Any]]

WORKSHOP = (
    "aws-workshop-2018/aws_focus_2018-10.csv.gz",
    "aws-workshop-2018/aws_focus_2018-11.csv.gz",
)
SAMPLE = "focus-1.0-sample/focus_sample.csv"


def total(items: list[Any]) -> Decimal:
    assert {item["currency"] for item in items} == {"USD"}
    return sum((Decimal(item["cost"]) for item in items), Decimal(0))


@pytest.mark.parametrize("group_by", [None, "account", "service", "region", "family"])
async def test_multi_cloud_sample(serve: Serve, real_bills: Path, group_by: str | None) -> None:
    """The FOCUS sample adds up to its total in every grouping."""
    query = {} if group_by is None else {"groupBy": group_by}
    async with serve(focus=[real_bills / SAMPLE]) as call:
        items = await call.costs(**query)
        assert total(items) == Decimal("20.52022672899")
        assert await call.server.ledger_totals() == {"USD": Decimal("20.52022672899")}


async def test_providers_of_the_sample(serve: Serve, real_bills: Path) -> None:
    """Each provider's rows add up to its total; rows of a fourth provider have none."""
    async with serve(focus=[real_bills / SAMPLE]) as call:
        items = await call.costs(groupBy="account")
        accounts = (await call("GET", "/billingEngine/account")).items
    assert len(accounts) == 73
    totals = {
        provider: total([item for item in items if item.get("cloudProvider") == provider])
        for provider in ("aws", "azure", None)
    }
    assert totals == {
        "aws": Decimal("18.0066386184"),
        "azure": Decimal("1.97651418586"),
        None: Decimal("0.53707392473"),
    }


async def test_two_months_of_hours(serve: Serve, real_bills: Path) -> None:
    """243,647 rows add up by account, month and week, also for an id with a leading zero."""
    expected = {
        ("836060457634", "2018-10-01", "2018-10-31"): "3993.0273261102",
        ("836060457634", "2018-11-01", "2018-11-30"): "3444.8412207931",
        ("836060457634", "2018-11-05", "2018-11-11"): "1058.5845257796",
        ("011254002932", "2018-10-01", "2018-10-31"): "71.4558054277",
        ("011254002932", "2018-11-01", "2018-11-30"): "60.4857473337",
        ("011254002932", "2018-11-05", "2018-11-11"): "12.7473961240",
    }
    async with serve(focus=[real_bills / name for name in WORKSHOP]) as call:
        for (account, first, last), amount in expected.items():
            items = await call.costs(
                accountId=account, fromDate=first, toDate=last, groupBy="service"
            )
            assert {item["accountId"] for item in items} == {account}
            assert total(items) == Decimal(amount)
        assert await call.server.ledger_totals() == {"USD": Decimal("7569.8100996647")}
