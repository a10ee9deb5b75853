"""Share of a small tenant beside a greedy one.

Run: `python -m benchmarks.claims.tenants [--quick]`.

Two tenants use one client, by `with_token`: one pulls 1,000 slices, the other 20. The server, in a
process of its own, takes 50 ms per request, and the client has at most 16 requests in flight. The
small tenant's time is measured alone, and then repeatedly while the greedy one pulls. Jain's
fairness index is that of the slices that each tenant gets while both pull: 1 is an equal share, 1/2
is everything for one of them.

Permits become free in bursts, one every 50 ms. Alone, 20 slices take two bursts; with half of each
burst they take three, and up to one more to wait for the first: 1.5 to 2 times as long. The small
tenant starts at random moments.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random
from typing import NamedTuple

from benchmarks.harness.figures import Figure, spread
from benchmarks.harness.quick import is_quick
from benchmarks.harness.serving import serving
from spot_billing_async import ClientConfig, CostPlan, Fetched, SpotBillingClient, TenantClient

GREEDY_SLICES, SMALL_SLICES = 1000, 20
PERMITS, LATENCY_S, ROWS = 16, 0.05, 10
ROUNDS, QUICK_ROUNDS = 5, 2
PULLS = 6  # pulls of the small tenant during one of the greedy one
FIRST = date(2024, 1, 1)
SLOWDOWN_BAR = 2.0


class Round(NamedTuple):
    """Measurements of one round.

    Attributes:
        alone_s: seconds of each pull of the small tenant alone.
        beside_s: seconds of each of its pulls beside the greedy tenant.
        jain: Jain's index during each of the latter.
        greedy_s: seconds of the greedy tenant's pull.
    """

    alone_s: list[float]
    beside_s: list[float]
    jain: list[float]
    greedy_s: float


class Tenant:
    """A tenant, and the number of slices that it fetched.

    Attributes:
        slices: fetched slices.
    """

    def __init__(self, client: TenantClient) -> None:
        self._client = client
        self.slices = 0

    async def pull(self, slices: int) -> float:
        """Pull a number of slices, and return the seconds."""
        plan = CostPlan.build(["a1"], FIRST, FIRST + timedelta(days=slices - 1), window="day")
        began_s = time.perf_counter()
        async with self._client.costs.pull(plan) as run:
            async for outcome in run:
                assert isinstance(outcome, Fetched), outcome
                self.slices += 1
        return time.perf_counter() - began_s


def jain_index(shares: Sequence[float]) -> float:
    """Return Jain's fairness index: from 1/n (everything for one of n) to 1 (equal shares)."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


async def measure(base_url: str, seed: int) -> Round:
    """Measure one round: the small tenant alone, then beside the greedy one."""
    random = Random(seed)  # noqa: S311  a seeded scenario, no secret
    config = ClientConfig(max_concurrency=PERMITS)
    async with SpotBillingClient("greedy", base_url=base_url, config=config) as client:
        greedy, small = Tenant(client), Tenant(client.with_token("small"))
        for tenant in (greedy, small):  # opens connections, and lets the limit settle
            await tenant.pull(PERMITS * 10)
        alone_s = [await small.pull(SMALL_SLICES) for _ in range(PULLS)]
        beside_s, jain = [], []
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(greedy.pull(GREEDY_SLICES))
            await asyncio.sleep(4 * LATENCY_S)  # until it uses all permits
            for _ in range(PULLS):
                await asyncio.sleep(random.uniform(0, LATENCY_S))
                before = greedy.slices
                beside_s.append(await small.pull(SMALL_SLICES))
                jain.append(jain_index([SMALL_SLICES, greedy.slices - before]))
            assert not pulling.done(), "the greedy tenant finished before the small one"
        return Round(alone_s, beside_s, jain, pulling.result())


def main() -> None:
    """Print times, ratios and Jain's index; exit 1 where a bar is missed."""
    count = QUICK_ROUNDS if is_quick(__doc__) else ROUNDS
    rounds = []
    for seed in range(count):
        with serving(ROWS, latency_s=LATENCY_S, kind="canned") as server:
            rounds.append(asyncio.run(measure(server.base_url, seed)))
    alone_s = [took_s for each in rounds for took_s in each.alone_s]
    beside_s = [took_s for each in rounds for took_s in each.beside_s]
    jain = [index for each in rounds for index in each.jain]
    typical_s = statistics.median(alone_s)
    print(f"{count} rounds of {PULLS} pulls; {PERMITS} in flight, {LATENCY_S * 1e3:g} ms each")
    for name, values in {
        f"{SMALL_SLICES} slices alone, s": alone_s,
        f"{SMALL_SLICES} slices beside {GREEDY_SLICES:,}, s": beside_s,
        f"{GREEDY_SLICES:,} slices, s": [each.greedy_s for each in rounds],
        "Jain's index while both pull": jain,
    }.items():
        print(f"  {name:40} median {statistics.median(values):.3f}, {spread(values)}")
    figures = [
        Figure(
            "median time of the small tenant, times that alone",
            statistics.median(beside_s) / typical_s,
            SLOWDOWN_BAR,
        ),
        Figure("its longest time, times the median alone", max(beside_s) / typical_s, SLOWDOWN_BAR),
    ]
    for figure in figures:
        print(figure.line())
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    main()
