"""The client that openapi-python-client makes of the contract: httpx, attrs."""

from datetime import date

from spot_generated_httpx import AuthenticatedClient
from spot_generated_httpx.api.cost_analysis import get_cost_analysis

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import side_by_side

STANDS_ON = ("openapi-python-client", "httpx", "attrs")


async def run(task: Task) -> Measured:
    """Its documented use: a client, and a function an operation."""
    async with AuthenticatedClient(base_url=task.base_url, token=TOKEN) as client:

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            answer = await get_cost_analysis.asyncio(
                client=client, account_id="a", from_date=day, to_date=day
            )
            assert answer.response.items
            return len(answer.response.items)

        return await side_by_side(call, task)
