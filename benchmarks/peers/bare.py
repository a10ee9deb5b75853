"""Aiohttp and msgspec, and nothing else: the floor of the stack that this client stands on."""

import aiohttp
import msgspec

from benchmarks.harness.task import TOKEN, Measured, Task, day_of
from benchmarks.harness.watch import side_by_side
from benchmarks.peers.envelope import Envelope

STANDS_ON = ("aiohttp", "msgspec")


async def run(task: Task) -> Measured:
    """A session, a decoder, a crew."""
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

        return await side_by_side(call, task)
