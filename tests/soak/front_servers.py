"""Callers of a client behind a front server that reloads, and closes idle connections."""

import asyncio
import random
from collections import Counter
from datetime import date, timedelta

import aiohttp

from spot_billing_async import SpotBillingClient, SpotBillingError
from tests.support_front_servers import front_server
from tests.support_processes import TOKEN, emulator_process

DAY = date(2024, 1, 1)
IDLE_S = 1.0
RELOADS_EVERY_S = 2.0


async def outcomes_behind(
    program: str, seconds: float, *, callers: int, own_session: bool = False
) -> Counter[str]:
    """Return the outcomes of the GETs that callers send for some seconds.

    Half of the pauses between them are about as long as the front server keeps a connection.
    """
    outcomes: Counter[str] = Counter()

    async def call_until(ends_s: float, client: SpotBillingClient, seed: int) -> None:
        draw, loop = random.Random(seed), asyncio.get_running_loop()  # noqa: S311  reproducible
        while loop.time() < ends_s:
            try:
                day = DAY + timedelta(draw.randrange(1000))
                await client.costs.get("a1", day, day)
                outcomes["ok"] += 1
            except SpotBillingError as error:
                outcomes[f"{error!r} {error.attempt_errors}"] += 1
            at_the_end = IDLE_S + draw.uniform(-0.01, 0.01)
            await asyncio.sleep(draw.choice([draw.random() / 50, at_the_end]))

    with emulator_process() as behind, front_server(program, behind) as front:
        async with aiohttp.ClientSession() as session:
            given = session if own_session else None
            async with SpotBillingClient(TOKEN, base_url=front.base_url, session=given) as client:
                ends_s = asyncio.get_running_loop().time() + seconds
                calls = [call_until(ends_s, client, seed) for seed in range(callers)]
                calling = asyncio.gather(*calls)
                while not calling.done():
                    front.reload()
                    await asyncio.wait([calling], timeout=RELOADS_EVERY_S)
                await calling
    return outcomes
