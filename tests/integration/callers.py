"""Concurrent callers that query overlapping ranges of days; also a program for other processes.

`python -m tests.integration.callers BASE_URL REDIS_URL SEED COUNT` prints the number of queries.
"""

import asyncio
import random
import sys
from datetime import date, timedelta

from spot_billing_async import SpotBillingClient
from spot_billing_async.cache import CostCache
from spot_billing_async.redis import RedisStore
from tests.support_bill import ACCOUNTS, DAYS, FIRST_DAY, cost_of

TOKEN = "t"


def ranges(seed: int, count: int) -> list[tuple[str, date, date]]:
    """Return ranges of days, each of an account; ranges of an account overlap."""
    chance = random.Random(seed)  # noqa: S311  for a test, not for a secret
    day_pairs = [sorted(chance.choices(range(DAYS), k=2)) for _ in range(count)]
    return [
        (ACCOUNTS[n % len(ACCOUNTS)], FIRST_DAY + timedelta(first), FIRST_DAY + timedelta(last))
        for n, (first, last) in enumerate(day_pairs)
    ]


async def query_all(client: SpotBillingClient, queries: list[tuple[str, date, date]]) -> None:
    """Query all ranges at the same time, and check that each gets exactly the rows of the bill."""

    async def query(account: str, first: date, last: date) -> None:
        items = await client.costs.get(account, first, last)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        assert [item.date for item in items] == days
        assert [item.cost for item in items] == [cost_of(account, day) for day in days]

    async with asyncio.TaskGroup() as callers:
        for each in queries:
            callers.create_task(query(*each))


async def main(base_url: str, redis_url: str, seed: int, count: int) -> None:
    """Query through Redis, from a process of its own."""
    cache = CostCache(RedisStore(redis_url, timeout_s=10.0, lease_s=10.0))
    async with SpotBillingClient(TOKEN, base_url=base_url, cache=cache) as client:
        await query_all(client, ranges(seed, count))
    print(count)  # noqa: T201  the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
