"""This client: `client.costs.get` with its default configuration."""

from datetime import date

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import run_calls
from spot_billing_async import ClientConfig, SpotBillingClient

LIBRARIES = ("aiohttp", "anyio", "msgspec")


async def run(task: Task) -> Measurement:
    """Make concurrent calls."""
    config = ClientConfig(max_concurrency=task.concurrency)
    async with SpotBillingClient(TOKEN, base_url=task.base_url, config=config) as client:

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            items = await client.costs.get("a", day, day)
            assert items
            return len(items)

        return await run_calls(call, task)
