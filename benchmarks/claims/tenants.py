"""Whether a greedy tenant leaves a small one its share.

Run: `python -m benchmarks.claims.tenants [--quick]`.

Two tenants use one client, by `with_token`: one pulls 1,000 slices, the other 20. The pool is
short: 16 requests at once, 50 ms each, by a server in a process of its own. The small tenant's time
is taken alone, and then again and again while the greedy one pulls. Jain's index is of the slices
that each of them gets while both want some: 1 is an even share, 1/2 is all for one of them.

The places come free in bursts, one each 50 ms. Alone, 20 slices take two of them; by half of each
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
PLACES, LATENCY_S, ROWS = 16, 0.05, 10
ROUNDS, QUICK_ROUNDS = 5, 2
PULLS = 6  # of the small tenant, within one of the greedy one
FIRST = date(2024, 1, 1)
SLOWDOWN_BAR = 2.0


class Round(NamedTuple):
    """What one round came to.

    Attributes:
        alone_s: of the small tenant's pulls, each, with nobody beside it.
        beside_s: of its pulls beside the greedy one.
        jain: Jain's index in the time of each of those.
        greedy_s: of the greedy tenant's pull.
    """

    alone_s: list[float]
    beside_s: list[float]
    jain: list[float]
    greedy_s: float


class Tenant:
    """A tenant who pulls, and what it got so far.

    Attributes:
        slices: slices that were fetched.
    """

    def __init__(self, client: TenantClient) -> None:
        self._client = client
        self.slices = 0

    async def pull(self, slices: int) -> float:
        """Pull so many slices; the seconds that it took."""
        plan = CostPlan.build(["a1"], FIRST, FIRST + timedelta(days=slices - 1), window="day")
        began_s = time.perf_counter()
        async with self._client.costs.pull(plan) as run:
            async for outcome in run:
                assert isinstance(outcome, Fetched), outcome
                self.slices += 1
        return time.perf_counter() - began_s


def jain_index(shares: Sequence[float]) -> float:
    """How even some shares are: from 1/n, all for one of n, to 1, the same for each."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


async def measured(base_url: str, seed: int) -> Round:
    """One round: the small tenant alone, then beside the greedy one."""
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
    config = ClientConfig(max_concurrency=PLACES)
    async with SpotBillingClient("greedy", base_url=base_url, config=config) as client:
        greedy, small = Tenant(client), Tenant(client.with_token("small"))
        for tenant in (greedy, small):  # connections are made, and the limit has settled
            await tenant.pull(PLACES * 10)
        alone_s = [await small.pull(SMALL_SLICES) for _ in range(PULLS)]
        beside_s, jain = [], []
        async with asyncio.TaskGroup() as group:
            pulling = group.create_task(greedy.pull(GREEDY_SLICES))
            await asyncio.sleep(4 * LATENCY_S)  # it has the pool for itself
            for _ in range(PULLS):
                await asyncio.sleep(chance.uniform(0, LATENCY_S))
                before = greedy.slices
                beside_s.append(await small.pull(SMALL_SLICES))
                jain.append(jain_index([SMALL_SLICES, greedy.slices - before]))
            assert not pulling.done(), "the greedy tenant was done before the small one"
        return Round(alone_s, beside_s, jain, pulling.result())


def main() -> None:
    """Print times, ratio and Jain's index beside their bars; exit 1 if one is missed."""
    count = QUICK_ROUNDS if is_quick(__doc__) else ROUNDS
    rounds = []
    for seed in range(count):
        with serving(ROWS, latency_s=LATENCY_S, kind="canned") as server:
            rounds.append(asyncio.run(measured(server.base_url, seed)))
    alone_s = [took_s for met in rounds for took_s in met.alone_s]
    beside_s = [took_s for met in rounds for took_s in met.beside_s]
    jain = [index for met in rounds for index in met.jain]
    typical_s = statistics.median(alone_s)
    print(
        f"{count} rounds of {PULLS} pulls; {PLACES} requests at once, {LATENCY_S * 1e3:g} ms each"
    )
    for name, values in {
        f"{SMALL_SLICES} slices alone, s": alone_s,
        f"{SMALL_SLICES} slices beside {GREEDY_SLICES:,}, s": beside_s,
        f"{GREEDY_SLICES:,} slices, s": [met.greedy_s for met in rounds],
        "Jain's index while both pull": jain,
    }.items():
        print(f"  {name:40} median {statistics.median(values):.3f}, {spread(values)}")
    figures = [
        Figure(
            "the small tenant's time, times alone",
            statistics.median(beside_s) / typical_s,
            SLOWDOWN_BAR,
        ),
        Figure("the same, of its slowest pull", max(beside_s) / typical_s, SLOWDOWN_BAR),
    ]
    for figure in figures:
        print(figure.line())
    sys.exit(not all(figure.is_met for figure in figures))


if __name__ == "__main__":
    main()
