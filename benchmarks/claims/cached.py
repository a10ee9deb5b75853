"""How long a cached answer takes in an app under load.

Run: `python -m benchmarks.claims.cached [--quick]`.

A FastAPI app under uvicorn, in a process of its own, answers a month of an account's costs by
service in three ways, with the same bytes: from the client's cache (`cached`), from rows that it
holds and writes as JSON each time (`rows`), and from bytes that are ready (`bytes`). A hundred
callers ask at once: each again as soon as it is answered, so that the app is never idle, or at so
many requests a second all together, so that it has room. Rounds are interleaved; ratios are taken
within a round.
"""

import asyncio
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from benchmarks.harness.child import serving_child
from benchmarks.harness.figures import median_ratio
from benchmarks.harness.lag import percentile
from benchmarks.harness.quick import is_quick
from benchmarks.harness.serving import Served

CALLERS = 100
WAYS = ("bytes", "rows", "cached")
CALM_RATE = 300
"""Requests a second where the app has room."""


@dataclass
class Round:
    """What a way came to in a round.

    Attributes:
        latencies_s: of each request.
        wall_s: of all of them.
        cpu_s: that the app used.
    """

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def p_ms(self, share: float) -> float:
        """The latency that a share of the requests does not exceed."""
        return percentile(self.latencies_s, share) * 1000

    @property
    def cpu_us(self) -> float:
        """CPU of a request."""
        return self.cpu_s / len(self.latencies_s) * 1e6


async def ask(
    session: aiohttp.ClientSession, url: str, expected: bytes, count: int, rate: float | None
) -> list[float]:
    """One caller: so many requests, and how long each took; at a rate of its own, or at once."""
    latencies_s = []
    chance = random.Random()  # noqa: S311  for when to ask
    for _ in range(count):
        if rate is not None:
            await asyncio.sleep(chance.uniform(0, 2 / rate))
        began_s = time.perf_counter()
        async with session.get(url) as answer:
            body = await answer.read()
        latencies_s.append(time.perf_counter() - began_s)
        assert body == expected
    return latencies_s


async def measure(app: Served, way: str, requests: int, rate: float | None) -> Round:
    """Have a way asked by all callers at once."""
    own_rate = None if rate is None else rate / CALLERS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as session:
        async with session.get(f"{app.base_url}/bytes") as answer:
            expected = await answer.read()
        caller = partial(ask, session, f"{app.base_url}/{way}", expected)
        await asyncio.gather(*(caller(1, None) for _ in range(CALLERS)))  # connections
        cpu_s, began_s = app.cpu_s(), time.perf_counter()
        each = await asyncio.gather(
            *(caller(requests // CALLERS, own_rate) for _ in range(CALLERS))
        )
    took = Round(wall_s=time.perf_counter() - began_s, cpu_s=app.cpu_s() - cpu_s)
    took.latencies_s = [latency_s for latencies_s in each for latency_s in latencies_s]
    return took


def table(load: str, met: dict[str, list[Round]]) -> list[str]:
    """What the ways came to: medians of the rounds, and of the ratios to `bytes` within them."""
    heads = ("requests/s", "p50 ms", "p99 ms", "of bytes", "CPU us")
    lines = ["{:>20} {:>10} {:>8} {:>8} {:>9} {:>8}".format(load, *heads)]
    for way, rounds in met.items():
        p99_ms = [each.p_ms(0.99) for each in rounds]
        cells = (
            statistics.median(len(each.latencies_s) / each.wall_s for each in rounds),
            statistics.median(each.p_ms(0.5) for each in rounds),
            statistics.median(p99_ms),
            median_ratio(p99_ms, [each.p_ms(0.99) for each in met["bytes"]]),
            statistics.median(each.cpu_us for each in rounds),
        )
        lines.append("{:>20} {:>10,.0f} {:>8.1f} {:>8.1f} {:>9.2f} {:>8,.0f}".format(way, *cells))
    return lines


async def main(requests: int, rounds: int) -> None:
    """Print a table for each load."""
    with serving_child([sys.executable, "-m", "benchmarks.harness.cached_app"]) as child:
        app = Served("fastapi", f"http://127.0.0.1:{child.said}", child.process.pid)
        for load, rate in (("never idle", None), (f"{CALM_RATE} requests/s", CALM_RATE)):
            met: dict[str, list[Round]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, took in met.items():
                    took.append(await measure(app, way, requests, rate))
            print("\n".join(table(load, met)), flush=True)


if __name__ == "__main__":
    if is_quick(__doc__):
        asyncio.run(main(requests=1000, rounds=3))
    else:
        asyncio.run(main(requests=3000, rounds=5))
