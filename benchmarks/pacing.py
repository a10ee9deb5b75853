"""How close a pull comes to a quota that it does not know: `python -m benchmarks.pacing`.

The emulator serves in a process of its own, with a sliding window of two seconds. Ideal is a pull
that sends the first window's worth at once, and each further request at the moment its place
becomes free: (N / L - 1) windows for N requests at a limit of L.
"""

import asyncio
import statistics
from datetime import date, timedelta

from benchmarks.opponent import TOKEN, opponent
from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient

WINDOW_S = 2.0
WINDOWS = 10
LIMITS = (20, 100, 500)
ROUNDS = 3


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


def main() -> None:
    """Print a table: limit, makespan as a share of the ideal and refusals, median and worst."""
    print(
        f"{'limit':>6} {'of ideal: median':>17} {'worst':>7} {'refused: median':>16} {'worst':>7}"
    )
    for limit in LIMITS:
        ideal_s = (WINDOWS - 1) * WINDOW_S
        shares, refusals = [], []
        for _ in range(ROUNDS):
            with opponent("--rate-limit", f"{limit}/{WINDOW_S:g}s") as base_url:
                took_s, refused = asyncio.run(pull(base_url, WINDOWS * limit))
            shares.append(took_s / ideal_s)
            refusals.append(refused)
        print(
            f"{limit:>6} {statistics.median(shares):>17.3f} {max(shares):>7.3f} "
            f"{statistics.median(refusals):>16.2%} {max(refusals):>7.2%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
