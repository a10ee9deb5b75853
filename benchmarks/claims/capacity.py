"""How well a capacity that no header tells is used.

Run: `python -m benchmarks.claims.capacity [--quick]`.

The emulator works on N requests at once, 50 ms each; more wait there, and beyond four times as many
are refused. What can be had is found by a sweep of fixed concurrencies in the same run, by bare
aiohttp. The client's own limit, a gradient controller, is measured beside additive increase and
multiplicative decrease. Short pulls come one after the other, by one client: the first of them
meets a server of which nothing is known, the others do not.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from datetime import date, timedelta
from math import inf

import aiohttp

from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit

SERVICE_S = 0.05
CAPACITIES = (4, 32, 128)
LONG_S = 4.0
SHORT = 50
PULLS = 20
SEEDS = 3
FIRST = date(2024, 1, 1)
MOST = 512


class Aimd(ConcurrencyLimit):
    """One more after each full round, half as many after each refusal."""

    def on_response(self, elapsed_s: float, sent_s: float, now_s: float) -> None:
        """Count towards a round."""
        if sent_s < self._round_began_s:
            return
        self._times_s.append(elapsed_s)
        if len(self._times_s) >= self.limit:
            self.limit = min(self.maximum, self.limit + self._is_pressed)
            self._begin_round(now_s)


async def fixed(base_url: str, slices: int, concurrency: int) -> float:
    """Seconds for so many requests by bare aiohttp, so many at once; inf where one is refused."""
    left = iter(range(slices))
    refused = 0
    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            nonlocal refused
            for i in left:
                day = FIRST + timedelta(days=i)
                url = f"{base_url}/billingEngine/cost?accountId=a1&fromDate={day}&toDate={day}"
                async with session.get(url) as response:
                    await response.read()
                    refused += not response.ok

        began_s = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return inf if refused else time.perf_counter() - began_s


async def pulls(
    base_url: str, slices: int, times: int, limit: Callable[[int], ConcurrencyLimit]
) -> tuple[list[float], float]:
    """Pull so many slices so many times; the seconds of each, and the share that was refused."""
    plan = CostPlan.build(["a1"], FIRST, FIRST + timedelta(days=slices - 1), window="day")
    config = ClientConfig(max_concurrency=MOST)
    took_s = []
    requests = 0
    async with SpotBillingClient(TOKEN, base_url=base_url, config=config) as client:
        client._shared.admission.limit = limit(MOST)  # noqa: SLF001  to measure another one
        for _ in range(times):
            async with client.costs.pull(plan) as run:
                async for _ in run:
                    pass
            assert run.report.complete, run.report
            took_s.append(run.report.elapsed_s)
            requests += run.report.requests
    return took_s, (requests - slices * times) / requests


def best_fixed_s(base_url: str, slices: int, capacity: int) -> float:
    """The shortest time that a fixed concurrency takes without a refusal."""
    candidates = sorted({capacity, capacity * 3 // 2, 2 * capacity, 3 * capacity, SHORT})
    fitting = [k for k in candidates if k <= 4 * capacity]
    return min(asyncio.run(fixed(base_url, slices, k)) for k in fitting)


def measure(capacity: int, seeds: int) -> None:
    """Print the lines of a capacity."""
    long = int(capacity * LONG_S / SERVICE_S)
    options = ("--capacity", str(capacity), "--latency", f"{SERVICE_S * 1000:g}ms")
    with opponent(*options) as base_url:
        best_s = {slices: best_fixed_s(base_url, slices, capacity) for slices in (SHORT, long)}
        for name, limit in {"gradient": ConcurrencyLimit, "AIMD": Aimd}.items():
            runs = [asyncio.run(pulls(base_url, long, 1, limit)) for _ in range(seeds)]
            shares = [best_s[long] / took_s[0] for took_s, _ in runs]
            show(capacity, name, f"{long} slices", shares, max(refused for _, refused in runs))
            runs = [asyncio.run(pulls(base_url, SHORT, PULLS, limit)) for _ in range(seeds)]
            refused = max(refused for _, refused in runs)
            first = [best_s[SHORT] / took_s[0] for took_s, _ in runs]
            show(capacity, name, f"{SHORT} slices, the first", first, refused)
            every = [best_s[SHORT] * PULLS / sum(took_s) for took_s, _ in runs]
            show(capacity, name, f"{SHORT} slices, {PULLS} times", every, refused)


def show(capacity: int, name: str, what: str, shares: list[float], refused: float) -> None:
    """Print a line."""
    print(
        f"{capacity:>8} {name:>9} {what:>22} {statistics.median(shares):>8.2f} {min(shares):>6.2f} "
        f"{refused:>8.2%}",
        flush=True,
    )


def main() -> None:
    """Print a table: throughput as a share of the best fixed concurrency's, and refusals."""
    quick = is_quick(__doc__)
    print("throughput as a share of the best fixed concurrency's (bar 0.9), refused (bar 1 %)")
    print(f"{'capacity':>8} {'limit':>9} {'pull':>22} {'median':>8} {'worst':>6} {'refused':>8}")
    for capacity in CAPACITIES[1:2] if quick else CAPACITIES:
        measure(capacity, 1 if quick else SEEDS)


if __name__ == "__main__":
    main()
