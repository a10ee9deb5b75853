"""Client generated from the contract by openapi-python-client: httpx, attrs."""

from datetime import date

from spot_generated_httpx import AuthenticatedClient
from spot_generated_httpx.api.cost_analysis import get_cost_analysis

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import run_calls

LIBRARIES = ("openapi-python-client", "httpx", "attrs")


async def run(task: Task) -> Measurement:
    """Make calls as its documentation shows: a client, and a function for the operation."""
    async with AuthenticatedClient(base_url=task.base_url, token=TOKEN) as client:

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            response = await get_cost_analysis.asyncio(
                client=client, account_id="a", from_date=day, to_date=day
            )
            assert response.response.items
            return len(response.response.items)

        return await run_calls(call, task)
