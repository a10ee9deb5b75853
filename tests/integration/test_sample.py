"""Exact totals of the emulator's sample, with client and emulator over real sockets."""

from datetime import date
from decimal import Decimal

import pytest

from spot_billing_async import ClientConfig, CostPlan, GroupBy, RetryPolicy, SpotBillingClient
from spot_billing_async.emulator import Emulator
from spot_billing_async.models.windows import WindowSize

FROM, TO = date(2024, 1, 1), date(2025, 12, 31)


async def totals(
    server: Emulator, window: WindowSize, group_by: GroupBy | None
) -> dict[str, Decimal]:
    """Return the totals of a pull of all accounts and days."""
    config = ClientConfig(
        max_response_bytes=2**24,  # a gzip bomb of the emulator has four times as much
        retry=RetryPolicy(max_attempts=20, backoff_base_s=0.001),
    )
    async with SpotBillingClient(server.token, base_url=server.base_url, config=config) as client:
        accounts = [account.account_id for account in await client.accounts.list()]
        plan = CostPlan.build(accounts, FROM, TO, window, group_by)
        async with client.costs.pull(plan) as run:
            async for _ in run:
                pass
    assert run.report.complete
    return dict(run.report.totals)


@pytest.mark.parametrize("group_by", ["account", "service", "region", "family", None])
async def test_a_pull_equals_the_ledger(group_by: GroupBy | None) -> None:
    """Every window and breakdown has the exact totals of the emulator, in each currency."""
    async with Emulator() as server:
        expected = await server.ledger_totals()
        assert set(expected) == {"EUR", "USD"}
        windows: list[WindowSize] = ["quarter", "whole", 100]
        for window in windows:
            assert await totals(server, window, group_by) == expected


async def test_a_pull_in_pages_equals_the_ledger() -> None:
    """A pull reads all pages of every slice."""
    async with Emulator(page_size=97) as server:
        assert await totals(server, "quarter", "service") == await server.ledger_totals()


async def test_a_pull_through_faults_equals_the_ledger() -> None:
    """Faults such as 5xx, HTML, resets and truncated bodies cause retries, and lose no row."""
    async with Emulator(faults=0.1, seed=7) as server:
        assert await totals(server, "month", "service") == await server.ledger_totals()
        assert server.requests > 24 * 24 + 1
