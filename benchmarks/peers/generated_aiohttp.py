"""Client generated from the contract by openapi-generator: asyncio, aiohttp, pydantic."""

from datetime import date

from spot_generated_aiohttp import ApiClient, Configuration, CostAnalysisApi

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import run_calls

LIBRARIES = ("openapi-generator-cli", "aiohttp", "pydantic")


async def run(task: Task) -> Measurement:
    """Make calls as its documentation shows: a configuration, a client, the API of a tag."""
    configuration = Configuration(host=task.base_url, access_token=TOKEN)
    async with ApiClient(configuration) as client:
        costs = CostAnalysisApi(client)

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            response = await costs.get_cost_analysis(account_id="a", from_date=day, to_date=day)
            assert response.response.items
            return len(response.response.items)

        return await run_calls(call, task)
