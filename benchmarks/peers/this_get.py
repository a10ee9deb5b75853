"""This client: `client.costs.get`, with everything on that it has."""

from datetime import date

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import side_by_side
from spot_billing_async import ClientConfig, SpotBillingClient

STANDS_ON = ("aiohttp", "anyio", "msgspec")


async def run(task: Task) -> Measured:
    """Calls side by side."""
    config = ClientConfig(max_concurrency=task.concurrency)
    async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            items = await client.costs.get("a", day, day)
            assert items
            return len(items)

        return await side_by_side(call, task)
