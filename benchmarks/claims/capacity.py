"""Use of a server's capacity that no header states.

Run: `python -m benchmarks.claims.capacity [--quick]`.

The emulator works on N requests at a time, 50 ms each. Further ones wait there, and beyond four
times N they are rejected. The best possible throughput is found in the same run by bare aiohttp
with a range of fixed concurrencies. The client's own limit, a gradient controller, is measured
beside additive increase and multiplicative decrease (AIMD). Short pulls are made one after the
other by one client: the first of them starts without knowledge of the server.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from math import inf

import aiohttp

from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from tests.support_processes import TOKEN, emulator_process

SERVICE_S = 0.05
CAPACITIES = (4, 32, 128)
LONG_S = 4.0
SHORT = 50
PULLS = 20
SEEDS = 3
FIRST = date(2024, 1, 1)
MOST = 512


class Aimd(ConcurrencyLimit):
    """One more after each full round, and half after each rejection."""

    def on_response(self, elapsed_s: float, sent_s: float, now_s: float) -> None:
        """Count the response towards a round."""
        if sent_s < self._round_began_s:
            return
        self._times_s.append(elapsed_s)
        if len(self._times_s) >= self.limit:
            self.limit = min(self.maximum, self.limit + self._is_pressed)
            self._begin_round(now_s)


async def fixed(base_url: str, slices: int, concurrency: int) -> float:
    """Return the seconds of requests by bare aiohttp; inf where one is rejected."""
    pending = iter(range(slices))
    rejected = 0
    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            nonlocal rejected
            for i in pending:
                day = FIRST + timedelta(days=i)
                url = f"{base_url}/billingEngine/cost?accountId=a1&fromDate={day}&toDate={day}"
                async with session.get(url) as response:
                    await response.read()
                    rejected += not response.ok

        began_s = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return inf if rejected else time.perf_counter() - began_s


async def pulls(
    base_url: str, slices: int, times: int, limit: Callable[[int], ConcurrencyLimit]
) -> tuple[list[float], float]:
    """Pull the same plan several times by one client.

    Returns:
        The seconds of each pull, and the share of rejected requests.
    """
    plan = CostPlan.build(["a1"], FIRST, FIRST + timedelta(days=slices - 1), window="day")
    config = ClientConfig(max_concurrency=MOST)
    took_s = []
    requests = 0
    async with SpotBillingClient(TOKEN, base_url=base_url, config=config) as client:
        client._shared.admission.limit = limit(MOST)  # noqa: SLF001  there is no public option
        for _ in range(times):
            async with client.costs.pull(plan) as run:
                async for _ in run:
                    pass
            assert run.report.complete, run.report
            took_s.append(run.report.elapsed_s)
            requests += run.report.requests
    return took_s, (requests - slices * times) / requests


def best_fixed_s(base_url: str, slices: int, capacity: int) -> float:
    """Return the shortest time of a fixed concurrency without a rejection."""
    candidates = sorted({capacity, capacity * 3 // 2, 2 * capacity, 3 * capacity, SHORT})
    fitting = [k for k in candidates if k <= 4 * capacity]
    return min(asyncio.run(fixed(base_url, slices, k)) for k in fitting)


def measure(capacity: int, seeds: int) -> None:
    """Print the lines of one capacity."""
    long = int(capacity * LONG_S / SERVICE_S)
    options = ("--capacity", str(capacity), "--latency", f"{SERVICE_S * 1000:g}ms")
    with emulator_process(*options) as base_url:
        best_s = {slices: best_fixed_s(base_url, slices, capacity) for slices in (SHORT, long)}
        for name, limit in {"gradient": ConcurrencyLimit, "AIMD": Aimd}.items():
            runs = [asyncio.run(pulls(base_url, long, 1, limit)) for _ in range(seeds)]
            shares = [best_s[long] / took_s[0] for took_s, _ in runs]
            print_line(
                capacity, name, f"{long} slices", shares, max(rejected for _, rejected in runs)
            )
            runs = [asyncio.run(pulls(base_url, SHORT, PULLS, limit)) for _ in range(seeds)]
            rejected = max(rejected for _, rejected in runs)
            first = [best_s[SHORT] / took_s[0] for took_s, _ in runs]
            print_line(capacity, name, f"{SHORT} slices, the first", first, rejected)
            every = [best_s[SHORT] * PULLS / sum(took_s) for took_s, _ in runs]
            print_line(capacity, name, f"{SHORT} slices, {PULLS} times", every, rejected)


def print_line(capacity: int, name: str, pull: str, shares: list[float], rejected: float) -> None:
    """Print one line: median and smallest share, and the share of rejected requests."""
    print(
        f"{capacity:>8} {name:>9} {pull:>22} {statistics.median(shares):>8.2f} {min(shares):>6.2f} "
        f"{rejected:>8.2%}",
        flush=True,
    )


def main() -> None:
    """Print throughput as a share of the best fixed concurrency's, and rejections."""
    quick = is_quick(__doc__)
    print("throughput as a share of the best fixed concurrency's (bar 0.9), rejected (bar 1 %)")
    print(f"{'capacity':>8} {'limit':>9} {'pull':>22} {'median':>8} {'worst':>6} {'rejected':>8}")
    for capacity in CAPACITIES[1:2] if quick else CAPACITIES:
        measure(capacity, 1 if quick else SEEDS)


if __name__ == "__main__":
    main()
