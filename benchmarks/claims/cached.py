"""Latency of a cached response in an app under load.

Run: `python -m benchmarks.claims.cached [--quick]`.

A FastAPI app under uvicorn, in a process of its own, returns a month of an account's costs by
service in three ways, as the same bytes: from the client's cache (`cached`), from rows in memory
that it encodes each time (`rows`), and from encoded bytes (`bytes`). A hundred callers send
requests: each the next one when it has a response, so that the app is never idle, or at a given
rate in total, so that it has spare capacity. Rounds are interleaved; ratios are taken within a
round.
"""

import asyncio
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from benchmarks.harness.figures import median_ratio
from benchmarks.harness.lag import percentile
from benchmarks.harness.quick import is_quick
from benchmarks.harness.serving import RunningServer
from tests.support_processes import child_process

CALLERS = 100
WAYS = ("bytes", "rows", "cached")
CALM_RATE = 300
"""Requests per second of all callers where the app has spare capacity."""


@dataclass
class Round:
    """Measurements of one way in one round.

    Attributes:
        latencies_s: latency of each request.
        wall_s: seconds of all requests.
        cpu_s: CPU seconds of the app.
    """

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0

    def p_ms(self, share: float) -> float:
        """Return the latency in ms that a share of the requests does not exceed."""
        return percentile(self.latencies_s, share) * 1000

    @property
    def cpu_us(self) -> float:
        """CPU per request, in microseconds."""
        return self.cpu_s / len(self.latencies_s) * 1e6


async def send_requests(
    session: aiohttp.ClientSession, url: str, expected: bytes, count: int, rate: float | None
) -> list[float]:
    """Send requests one after the other, and return their latencies.

    Args:
        session: the callers' session.
        url: address of the way.
        expected: the response body.
        count: number of requests.
        rate: requests per second of this caller; None for the next one after each response.
    """
    latencies_s = []
    pauses = random.Random()  # noqa: S311  no secret
    for _ in range(count):
        if rate is not None:
            await asyncio.sleep(pauses.uniform(0, 2 / rate))
        began_s = time.perf_counter()
        async with session.get(url) as response:
            body = await response.read()
        latencies_s.append(time.perf_counter() - began_s)
        assert body == expected
    return latencies_s


async def measure(app: RunningServer, way: str, requests: int, rate: float | None) -> Round:
    """Measure one way with all callers."""
    own_rate = None if rate is None else rate / CALLERS
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as session:
        async with session.get(f"{app.base_url}/bytes") as response:
            expected = await response.read()
        caller = partial(send_requests, session, f"{app.base_url}/{way}", expected)
        await asyncio.gather(*(caller(1, None) for _ in range(CALLERS)))  # opens connections
        cpu_s, began_s = app.cpu_s(), time.perf_counter()
        each = await asyncio.gather(
            *(caller(requests // CALLERS, own_rate) for _ in range(CALLERS))
        )
    result = Round(wall_s=time.perf_counter() - began_s, cpu_s=app.cpu_s() - cpu_s)
    result.latencies_s = [latency_s for latencies_s in each for latency_s in latencies_s]
    return result


def table(load: str, results: dict[str, list[Round]]) -> list[str]:
    """Return lines with medians of the rounds, and of the ratios to `bytes` within a round."""
    titles = ("requests/s", "p50 ms", "p99 ms", "of bytes", "CPU us")
    lines = ["{:>20} {:>10} {:>8} {:>8} {:>9} {:>8}".format(load, *titles)]
    for way, rounds in results.items():
        p99_ms = [each.p_ms(0.99) for each in rounds]
        cells = (
            statistics.median(len(each.latencies_s) / each.wall_s for each in rounds),
            statistics.median(each.p_ms(0.5) for each in rounds),
            statistics.median(p99_ms),
            median_ratio(p99_ms, [each.p_ms(0.99) for each in results["bytes"]]),
            statistics.median(each.cpu_us for each in rounds),
        )
        lines.append("{:>20} {:>10,.0f} {:>8.1f} {:>8.1f} {:>9.2f} {:>8,.0f}".format(way, *cells))
    return lines


async def main(requests: int, rounds: int) -> None:
    """Print a table for each load."""
    with child_process([sys.executable, "-m", "benchmarks.harness.cached_app"]) as child:
        app = RunningServer("fastapi", f"http://127.0.0.1:{child.first_line}", child.process.pid)
        for load, rate in (("never idle", None), (f"{CALM_RATE} requests/s", CALM_RATE)):
            results: dict[str, list[Round]] = {way: [] for way in WAYS}
            for _ in range(rounds):
                for way, way_rounds in results.items():
                    way_rounds.append(await measure(app, way, requests, rate))
            print("\n".join(table(load, results)), flush=True)


if __name__ == "__main__":
    if is_quick(__doc__):
        asyncio.run(main(requests=1000, rounds=3))
    else:
        asyncio.run(main(requests=3000, rounds=5))
