"""How close a pull comes to a quota that it does not know.

Run: `python -m benchmarks.claims.pacing [--quick]`.

The emulator serves in a process of its own, with a sliding window of two seconds, in three ways:
with the headers that tell its quota, with another consumer that uses 30 % of it in bursts, and
without headers. Ideal is a pull that sends the first window's worth at once, and each further
request at the moment its place becomes free: (N / L - 1) windows for N requests at a limit of L,
which is 0.7 of the server's where another consumer has the rest.
"""

import asyncio
import statistics
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient

WINDOW_S = 2.0
WINDOWS = 10
LIMITS = (20, 100, 500)
SEEDS = 3


class Way(NamedTuple):
    """How the server treats the client, and what is asked of that."""

    name: str
    options: tuple[str, ...]
    share: float
    most_of_ideal: float
    most_refused: float


WAYS = (
    Way("headers", (), 1.0, 1.05, 0.005),
    Way("others use 30 %", ("--other-consumer", "0.3"), 0.7, 1.10, 0.01),
    Way("no headers", ("--no-rate-limit-headers",), 1.0, 1.3, 0.05),
)


async def pull(base_url: str, slices: int) -> tuple[float, float]:
    """Pull so many slices; the seconds it takes, and the share of requests that were refused."""
    first = date(2024, 1, 1)
    plan = CostPlan.build(["a1"], first, first + timedelta(days=slices - 1), window="day")
    config = ClientConfig(max_concurrency=64)
    async with (
        SpotBillingClient(TOKEN, base_url=base_url, config=config) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
    report = run.report
    assert report.complete, report
    return report.elapsed_s, (report.requests - report.planned) / report.requests


def measure(way: Way, limit: int, seeds: int) -> str:
    """A line of the table: what came of each seed, median and worst."""
    ideal_s = (WINDOWS / way.share - 1) * WINDOW_S
    of_ideal, refused = [], []
    for seed in range(seeds):
        options = ("--rate-limit", f"{limit}/{WINDOW_S:g}s", "--seed", str(seed), *way.options)
        with opponent(*options) as base_url:
            took_s, share = asyncio.run(pull(base_url, WINDOWS * limit))
        of_ideal.append(took_s / ideal_s)
        refused.append(share)
    return (
        f"{way.name:>16} {limit:>6} {statistics.median(of_ideal):>9.3f} {max(of_ideal):>7.3f} "
        f"{way.most_of_ideal:>6.2f} {statistics.median(refused):>9.2%} {max(refused):>7.2%} "
        f"{way.most_refused:>6.1%}"
    )


def main() -> None:
    """Print a table: makespan as a share of the ideal, and refusals; median, worst and bar."""
    quick = is_quick(__doc__)
    print(
        f"{'':>16} {'limit':>6} {'of ideal':>9} {'worst':>7} {'bar':>6} {'refused':>9} {'worst':>7}"
    )
    for way in WAYS:
        for limit in LIMITS[1:2] if quick else LIMITS:
            print(measure(way, limit, 1 if quick else SEEDS), flush=True)


if __name__ == "__main__":
    main()
