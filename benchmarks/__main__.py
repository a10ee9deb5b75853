"""CPU of a call, beside bare aiohttp + msgspec: the floor of the stack this client stands on.

Both do the same job, in turns, against the same server in a process of its own: bearer auth, GET,
rows decoded to structs with `Decimal`. CPU seconds come from this process's own accounting; the
ratio within one run is what counts, as machines are noisy.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import aiohttp
import msgspec

from spot_billing_async import ClientConfig, CostItem, CostPlan, SpotBillingClient
from spot_billing_async.models.envelope import Envelope

ROUNDS = 5
CONCURRENCY = 16
CALLS_BY_ROWS = {10: 3000, 1000: 150}

Job = Callable[[str, int], Awaitable[None]]


@contextmanager
def server(rows: int) -> Iterator[str]:
    """The canned server in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "benchmarks.server", str(rows)]
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate()


async def bare(base_url: str, calls: int) -> None:
    """Aiohttp and msgspec, and nothing else."""
    decoder = msgspec.json.Decoder(Envelope[CostItem])
    headers = {"Authorization": "Bearer t", "Accept": "application/json"}
    left = iter(range(calls))
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONCURRENCY), headers=headers
    ) as session:

        async def work() -> None:
            for i in left:
                url = f"{base_url}/billingEngine/cost?accountId=a&fromDate=2018-10-{i % 28 + 1:02}"
                async with session.get(url) as response:
                    envelope = decoder.decode(await response.read())
                assert envelope.response is not None

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def client_get(base_url: str, calls: int) -> None:
    """`client.costs.get`, as many at once."""
    left = iter(range(calls))
    config = ClientConfig(max_concurrency=CONCURRENCY)
    async with SpotBillingClient("t", base_url=base_url, config=config) as client:

        async def work() -> None:
            for i in left:
                day = date(2018, 10, i % 28 + 1)
                assert await client.costs.get("a", day, day)

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


async def client_pull(base_url: str, calls: int) -> None:
    """`client.costs.pull`, read to the end, totals and report included."""
    config = ClientConfig(max_concurrency=CONCURRENCY)
    first = date(2018, 10, 1)
    plan = CostPlan.build(["a"], first, first + timedelta(days=calls - 1), window="day")
    async with SpotBillingClient("t", base_url=base_url, config=config) as client:
        async with client.costs.pull(plan) as run:
            async for _ in run:
                pass
        assert run.report.complete


def cpu_us_a_call(job: Job, base_url: str, calls: int) -> float:
    """CPU of this process for a call, in microseconds."""
    before = time.process_time()
    asyncio.run(_run(job, base_url, calls))
    return (time.process_time() - before) / calls * 1e6


async def _run(job: Job, base_url: str, calls: int) -> None:
    await job(base_url, calls)


def main() -> None:
    """Print a table: rows a page, job, median CPU a call, ratio to the floor, and spread."""
    jobs: list[Job] = [bare, client_get, client_pull]
    print(f"Python {sys.version.split()[0]}, {ROUNDS} interleaved rounds, CPU of one process")
    print(f"{'rows':>5}  {'job':12} {'us a call':>10} {'of bare':>8} {'min-max':>16}")
    for rows, calls in CALLS_BY_ROWS.items():
        figures: dict[str, list[float]] = {job.__name__: [] for job in jobs}
        with server(rows) as base_url:
            for job in jobs:
                cpu_us_a_call(job, base_url, calls // 10)
            for _ in range(ROUNDS):
                for job in jobs:
                    figures[job.__name__].append(cpu_us_a_call(job, base_url, calls))
        floor = figures["bare"]
        for name, met in figures.items():
            ratio = statistics.median(m / f for m, f in zip(met, floor, strict=True))
            spread = f"{min(met):.0f}-{max(met):.0f}"
            print(
                f"{rows:>5}  {name:12} {statistics.median(met):>10.1f} {ratio:>8.2f} {spread:>16}"
            )


if __name__ == "__main__":
    main()
