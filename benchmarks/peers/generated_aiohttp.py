"""The client that openapi-generator makes of the contract: asyncio, aiohttp, pydantic."""

from datetime import date

from spot_generated_aiohttp import ApiClient, Configuration, CostAnalysisApi

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import side_by_side

STANDS_ON = ("openapi-generator-cli", "aiohttp", "pydantic")


async def run(task: Task) -> Measured:
    """Its documented use: a configuration, a client, the API of a tag."""
    configuration = Configuration(host=task.base_url, access_token=TOKEN)
    async with ApiClient(configuration) as client:
        costs = CostAnalysisApi(client)

        async def call(i: int) -> int:
            day = date.fromisoformat(day_of(i))
            answer = await costs.get_cost_analysis(account_id="a", from_date=day, to_date=day)
            assert answer.response.items
            return len(answer.response.items)

        return await side_by_side(call, task)
