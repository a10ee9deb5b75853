"""Time of a pull under a quota that it does not know, beside the ideal time.

Run: `python -m benchmarks.claims.pacing [--quick]`.

The emulator serves in a process of its own with a sliding window of two seconds, in three ways:
with headers that state its quota, with another consumer that uses 30 % of it in bursts, and without
headers. An ideal pull sends the requests of the first window at once, and each further one at the
moment its place becomes free: N requests at a limit of L take (N / L - 1) windows. With another
consumer, L is 0.7 of the server's limit.
"""

import asyncio
import statistics
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient
from tests.support_processes import TOKEN, emulator_process

WINDOW_S = 2.0
WINDOWS = 10
LIMITS = (20, 100, 500)
SEEDS = 3


class Way(NamedTuple):
    """Options of the server, and the bars of a pull from it.

    Attributes:
        name: its name in the table.
        options: options of the emulator.
        share: share of the quota that is left to the client.
        most_of_ideal: bar of the time as a share of the ideal one.
        most_rejected: bar of the share of rejected requests.
    """

    name: str
    options: tuple[str, ...]
    share: float
    most_of_ideal: float
    most_rejected: float


WAYS = (
    Way("headers", (), 1.0, 1.05, 0.005),
    Way("others use 30 %", ("--other-consumer", "0.3"), 0.7, 1.10, 0.01),
    Way("no headers", ("--no-rate-limit-headers",), 1.0, 1.3, 0.05),
)


async def pull(base_url: str, slices: int) -> tuple[float, float]:
    """Pull a number of slices; return the seconds, and the share of rejected requests."""
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
    """Measure each seed, and return a line of the table: medians, worst values and bars."""
    ideal_s = (WINDOWS / way.share - 1) * WINDOW_S
    of_ideal, rejected = [], []
    for seed in range(seeds):
        options = ("--rate-limit", f"{limit}/{WINDOW_S:g}s", "--seed", str(seed), *way.options)
        with emulator_process(*options) as base_url:
            took_s, share = asyncio.run(pull(base_url, WINDOWS * limit))
        of_ideal.append(took_s / ideal_s)
        rejected.append(share)
    return (
        f"{way.name:>16} {limit:>6} {statistics.median(of_ideal):>9.3f} {max(of_ideal):>7.3f} "
        f"{way.most_of_ideal:>6.2f} {statistics.median(rejected):>9.2%} {max(rejected):>7.2%} "
        f"{way.most_rejected:>6.1%}"
    )


def main() -> None:
    """Print times as a share of the ideal, and rejections: median, worst value and bar."""
    quick = is_quick(__doc__)
    columns = f"{'':>16} {'limit':>6} {'of ideal':>9} {'worst':>7} {'bar':>6}"
    print(f"{columns} {'rejected':>9} {'worst':>7} {'bar':>6}")
    for way in WAYS:
        for limit in LIMITS[1:2] if quick else LIMITS:
            print(measure(way, limit, 1 if quick else SEEDS), flush=True)


if __name__ == "__main__":
    main()
