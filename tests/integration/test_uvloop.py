"""The client on uvloop, whose timers and transports differ from asyncio's."""

import asyncio
from datetime import date

import pytest
import uvloop

from spot_billing_async import ClientConfig, CostPlan, DeadlineExceededError, SpotBillingClient
from spot_billing_async.emulator import Emulator


def test_a_pull_on_uvloop_equals_the_ledger() -> None:
    """A pull on uvloop with a quota, pages and faults has the exact totals."""

    async def main() -> None:
        async with Emulator(faults=0.02, seed=3, page_size=500, rate_limit="500/1s") as server:
            async with SpotBillingClient(server.token, base_url=server.base_url) as client:
                accounts = [account.account_id for account in await client.accounts.list()]
                plan = CostPlan.build(
                    accounts, date(2024, 1, 1), date(2025, 12, 31), "quarter", "service"
                )
                async with client.costs.pull(plan) as run:
                    async for _ in run:
                        pass
            assert run.report.complete
            assert run.report.totals == await server.ledger_totals()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_deadline_on_uvloop_ends_a_call() -> None:
    """The timer of all deadlines works on uvloop."""

    async def main() -> None:
        config = ClientConfig(deadline_s=0.1)
        async with (
            Emulator(latency="30s") as server,
            SpotBillingClient(server.token, base_url=server.base_url, config=config) as client,
        ):
            with pytest.raises(DeadlineExceededError):
                await client.accounts.list()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
