"""Shared fetches of many callers, over real sockets: each day is requested once."""

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
from tests.integration.callers import TOKEN, query_all, ranges
from tests.support_bill import (
    ACCOUNTS,
    DAYS,
    FIRST_DAY,
    RecordingEmulator,
    recording_emulator,
    write_bill,
)
from tests.support_redis import redis_server

CALLERS = 200


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RecordingEmulator]:
    """Yield an emulator that records its requests."""
    async with recording_emulator(write_bill(tmp_path), TOKEN) as entered:
        yield entered


def days_of(queries: list[tuple[str, date, date]]) -> set[tuple[str, date]]:
    return {
        (account, first + timedelta(days=n))
        for account, first, last in queries
        for n in range((last - first).days + 1)
    }


async def test_each_account_day_is_fetched_once(server: RecordingEmulator) -> None:
    """200 concurrent callers with overlapping ranges of 50 accounts cause one request per day."""
    queries = ranges(1, CALLERS)
    async with SpotBillingClient(TOKEN, base_url=server.base_url, cache=CostCache()) as client:
        for _ in range(2):
            await query_all(client, queries)
    assert server.requested.keys() == days_of(queries)
    assert set(server.requested.values()) == {1}


async def test_two_processes_fetch_each_account_day_once(server: RecordingEmulator) -> None:
    """Two processes with 100 concurrent callers each cause one request per day, through Redis."""
    with redis_server() as redis:

        async def work(seed: int) -> None:
            command = [sys.executable, "-W", "error", "-m", "tests.integration.callers"]
            command += [server.base_url, redis.url, str(seed), str(CALLERS // 2)]
            done = await anyio.run_process(command, cwd=Path(__file__).parents[2])
            assert done.stdout.split() == [b"100"]

        async with anyio.create_task_group() as workers:
            for seed in (1, 2):
                workers.start_soon(work, seed)
    queries = [each for seed in (1, 2) for each in ranges(seed, CALLERS // 2)]
    assert server.requested.keys() == days_of(queries)
    assert set(server.requested.values()) == {1}


async def test_a_pull_and_calls_share(server: RecordingEmulator) -> None:
    """Slices of a pull and single calls fetch no day twice, and the report adds up."""
    last = FIRST_DAY + timedelta(days=DAYS - 1)
    plan = CostPlan.build(ACCOUNTS, FIRST_DAY, last, window="week")
    async with SpotBillingClient(TOKEN, base_url=server.base_url, cache=CostCache()) as client:
        async with anyio.create_task_group() as callers, client.costs.pull(plan) as run:
            callers.start_soon(query_all, client, ranges(1, CALLERS))
            async for _ in run:
                pass
        async with client.costs.pull(plan) as again:
            async for _ in again:
                pass
    report = run.report
    assert set(server.requested.values()) == {1}
    assert report.complete
    assert report.rows == len(ACCOUNTS) * DAYS
    assert again.report.totals == report.totals == await server.ledger_totals()
    assert (again.report.requests, again.report.rows) == (0, report.rows)


async def test_a_short_deadline_does_not_end_the_shared_fetch() -> None:
    """A caller ends at its deadline, while the fetch it started goes on for the other callers."""
    async with (
        Emulator(latency="300ms") as server,
        SpotBillingClient(server.token, base_url=server.base_url, cache=CostCache()) as client,
    ):
        account = (await client.accounts.list())[0].account_id
        before = server.requests
        started, day = asyncio.Event(), date(2024, 5, 1)

        async def hurried() -> None:
            started.set()
            with deadline(0.1), pytest.raises(DeadlineExceededError, match="or its caller"):
                await client.costs.get(account, day, day)

        async def patient() -> int:
            await started.wait()
            return len(await client.costs.get(account, day, day))

        _, rows = await asyncio.gather(hurried(), patient())
        assert rows > 0
        assert server.requests == before + 1
