"""Many callers of the same days: the server is asked for each of them once."""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import anyio
import pytest

from spot_billing_async import CostPlan, DeadlineExceededError, SpotBillingClient, deadline
from spot_billing_async.cache import CostCache
from spot_billing_async.emulator import Emulator
from tests.integration.callers import TOKEN, ask_all, ranges
from tests.support_bill import (
    ACCOUNTS,
    DAYS,
    FIRST_DAY,
    LoggedEmulator,
    logged_emulator,
    write_bill,
)
from tests.support_redis import redis_server

CALLERS = 200


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LoggedEmulator]:
    """The emulator, which notes what it is asked for."""
    async with logged_emulator(write_bill(tmp_path), TOKEN) as entered:
        yield entered


def days_of(asked: list[tuple[str, date, date]]) -> set[tuple[str, date]]:
    return {
        (account, first + timedelta(days=n))
        for account, first, last in asked
        for n in range((last - first).days + 1)
    }


async def test_each_account_day_is_fetched_once(server: LoggedEmulator) -> None:
    """By 200 callers at once with overlapping ranges of 50 accounts, who ask twice."""
    asked = ranges(1, CALLERS)
    async with SpotBillingClient(TOKEN, base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(2):
            await ask_all(client, asked)
    assert server.asked.keys() == days_of(asked)
    assert set(server.asked.values()) == {1}


async def test_two_processes_fetch_each_account_day_once(server: LoggedEmulator) -> None:
    """So it is through Redis, with 100 callers in each of two processes at once."""
    with redis_server() as redis:

        async def work(seed: int) -> None:
            command = [sys.executable, "-W", "error", "-m", "tests.integration.callers"]
            command += [server.base_url, redis.url, str(seed), str(CALLERS // 2)]
            done = await anyio.run_process(command, cwd=Path(__file__).parents[2])
            assert done.stdout.split() == [b"100"]

        async with anyio.create_task_group() as workers:
            for seed in (1, 2):
                workers.start_soon(work, seed)
    asked = [each for seed in (1, 2) for each in ranges(seed, CALLERS // 2)]
    assert server.asked.keys() == days_of(asked)
    assert set(server.asked.values()) == {1}


async def test_a_pull_and_calls_share(server: LoggedEmulator) -> None:
    """A pull's slices and single calls ask for no day twice, and the pull's report adds up."""
    last = FIRST_DAY + timedelta(days=DAYS - 1)
    plan = CostPlan.build(ACCOUNTS, FIRST_DAY, last, window="week")
    async with SpotBillingClient(TOKEN, base_url=server.base_url, cache=CostCache()) as client:
        async with anyio.create_task_group() as callers, client.costs.pull(plan) as run:
            callers.start_soon(ask_all, client, ranges(1, CALLERS))
            async for _ in run:
                pass
        async with client.costs.pull(plan) as again:
            async for _ in again:
                pass
    report = run.report
    assert set(server.asked.values()) == {1}
    assert report.complete
    assert report.rows == len(ACCOUNTS) * DAYS
    assert again.report.totals == report.totals == await server.ledger_totals()
    assert (again.report.requests, again.report.rows) == (0, report.rows)


async def test_who_has_less_time_does_not_shorten_what_others_wait_for() -> None:
    """Whoever began a fetch leaves when their time is over; it goes on for those who joined."""
    async with (
        Emulator(latency="300ms") as server,
        SpotBillingClient(server.token, base_url=server.base_url, cache=CostCache()) as client,
    ):
        account = (await client.accounts.list())[0].account_id
        before = server.requests
        begun, day = asyncio.Event(), date(2024, 5, 1)

        async def hurried() -> None:
            begun.set()
            with deadline(0.1), pytest.raises(DeadlineExceededError, match="or its caller's"):
                await client.costs.get(account, day, day)

        async def patient() -> int:
            await begun.wait()
            return len(await client.costs.get(account, day, day))

        _, rows = await asyncio.gather(hurried(), patient())
        assert rows > 0
        assert server.requests == before + 1
