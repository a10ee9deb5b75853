"""Callers that all ask at once, for ranges that overlap; as a program, a worker process of them.

`python -m tests.integration.callers BASE_URL REDIS_URL SEED COUNT` prints how many were answered.
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
    """Ranges of days, each of some account; several of an account overlap."""
    chance = random.Random(seed)  # noqa: S311  for a test, not for a secret
    places = [sorted(chance.choices(range(DAYS), k=2)) for _ in range(count)]
    return [
        (ACCOUNTS[n % len(ACCOUNTS)], FIRST_DAY + timedelta(first), FIRST_DAY + timedelta(last))
        for n, (first, last) in enumerate(places)
    ]


async def ask_all(client: SpotBillingClient, asked: list[tuple[str, date, date]]) -> None:
    """Ask for all ranges at once; each has to get exactly the rows of the bill."""

    async def ask(account: str, first: date, last: date) -> None:
        items = await client.costs.get(account, first, last)
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        assert [item.date for item in items] == days
        assert [item.cost for item in items] == [cost_of(account, day) for day in days]

    async with asyncio.TaskGroup() as callers:
        for each in asked:
            callers.create_task(ask(*each))


async def main(base_url: str, redis_url: str, seed: int, count: int) -> None:
    """Ask from a process of its own, through Redis."""
    cache = CostCache(RedisStore(redis_url, timeout_s=10.0))
    async with SpotBillingClient(TOKEN, base_url=base_url, cache=cache) as client:
        await ask_all(client, ranges(seed, count))
    print(count)  # noqa: T201  what the test reads


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
