"""Aiohttp and msgspec alone: the floor of the client's stack."""

import aiohttp
import msgspec

from benchmarks.harness.task import TOKEN, Measurement, Task, day_of
from benchmarks.harness.watch import run_calls
from benchmarks.peers.envelope import Envelope

LIBRARIES = ("aiohttp", "msgspec")


async def run(task: Task) -> Measurement:
    """Make calls with one session and one decoder."""
    decoder = msgspec.json.Decoder(Envelope)
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json"}
    url = f"{task.base_url}/billingEngine/cost?accountId=a&fromDate="
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=task.concurrency), headers=headers
    ) as session:

        async def call(i: int) -> int:
            day = day_of(i)
            async with session.get(f"{url}{day}&toDate={day}") as response:
                assert response.status == 200  # noqa: PLR2004  OK
                envelope = decoder.decode(await response.read())
            assert envelope.response is not None
            assert envelope.response.items
            return len(envelope.response.items)

        return await run_calls(call, task)
