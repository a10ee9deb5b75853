"""Exact totals of real bills, with client and emulator over real sockets."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from spot_billing_async import CostPlan, GroupBy, SpotBillingClient, WindowSize
from spot_billing_async.emulator import Emulator

TOTAL = Decimal("7569.8100996647")
FROM, TO = date(2018, 10, 1), date(2018, 11, 30)


@pytest.fixture
async def client(shared: Path) -> AsyncIterator[SpotBillingClient]:
    files = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    async with (
        Emulator(focus=files, token="t") as server,
        SpotBillingClient("t", base_url=server.base_url) as entered,
    ):
        yield entered


async def test_totals_of_every_window_and_dimension(client: SpotBillingClient) -> None:
    """Every window and breakdown of a bill has the same total."""
    accounts = [account.account_id for account in await client.accounts.list()]
    cuts: list[tuple[WindowSize, GroupBy | None]] = [
        ("day", "service"),
        ("week", "service"),
        ("month", "service"),
        ("whole", "service"),
        ("month", "account"),
        ("month", "region"),
        ("month", "family"),
        ("quarter", None),
        (10, None),
    ]
    for window, group_by in cuts:
        plan = CostPlan.build(accounts, FROM, TO, window, group_by)
        async with client.costs.pull(plan) as run:
            async for _ in run:
                pass
        assert run.report.complete, (window, group_by)
        assert run.report.totals == {"USD": TOTAL}, (window, group_by)


async def test_totals_of_each_account(client: SpotBillingClient) -> None:
    """Months and a week of each account have exact totals, also for an id with a leading zero."""
    october, november, week = (
        (FROM, date(2018, 10, 31)),
        (date(2018, 11, 1), TO),
        (date(2018, 11, 5), date(2018, 11, 11)),
    )
    for account_id, (from_date, to_date), total in (
        ("836060457634", october, "3993.0273261102"),
        ("836060457634", november, "3444.8412207931"),
        ("836060457634", week, "1058.5845257796"),
        ("011254002932", october, "71.4558054277"),
        ("011254002932", november, "60.4857473337"),
        ("011254002932", week, "12.7473961240"),
    ):
        items = await client.costs.get(account_id, from_date, to_date, "service")
        assert sum(item.cost or 0 for item in items) == Decimal(total)
        assert {item.account_id for item in items} == {account_id}
        assert all(item.date and from_date <= item.date <= to_date for item in items)
