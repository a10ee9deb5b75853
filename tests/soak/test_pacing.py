"""The limiter in front of 500 random servers on a simulated clock, and of real sockets.

The percentiles and the worst ten are printed (`pytest -s`). Servers are spread evenly over their
kinds, and by logarithm over windows of 0.5 to 60 s and limits of 1 to 1,000. A pull has at least
2,000 requests, and ten windows. The bars are those that hold today.
"""

import sys
import time
from datetime import date, timedelta

import pytest

from spot_billing_async import ClientConfig, CostPlan, SpotBillingClient
from spot_billing_async.emulator import Emulator, RateLimit
from tests._core.pacing.servers import Headers, best_s, percentile, random_traits, simulate

pytestmark = pytest.mark.soak

SERVERS = 500


@pytest.mark.parametrize(
    ("headers", "others", "most_of_best", "most_refused"),
    [
        ("always", False, 1.05, 0.012),
        ("always", True, 1.15, 0.10),
        ("at zero", False, 1.3, 0.5),
        ("partly", False, 1.3, 0.4),
        ("never", False, 1.9, 0.08),
    ],
)
def test_random_servers_are_paced(
    headers: Headers, others: bool, most_of_best: float, most_refused: float
) -> None:
    """The 95th percentiles of makespan and refusals stay below the bars."""
    rows = []
    for seed in range(SERVERS):
        traits = random_traits(seed, headers=(headers,), others=others)
        result = simulate(traits)
        assert result.too_early == 0
        rows.append((result.took_s / best_s(traits), result.refused / traits.requests, traits))
    ratios, refused = [row[0] for row in rows], [row[1] for row in rows]
    for share in (0.5, 0.9, 0.95, 1.0):
        sys.stdout.write(
            f"{headers}, others {others}, {share:.0%}: {percentile(ratios, share):.3f} of best, "
            f"{percentile(refused, share):.2%} refused\n"
        )
    by_ratio = sorted(rows, key=lambda row: -row[0])[:10]
    by_refused = sorted(rows, key=lambda row: -row[1])[:10]
    for row in by_ratio + by_refused:
        sys.stdout.write(f"{row[0]:.3f} {row[1]:.2%} {row[2]}\n")
    assert percentile(ratios, 0.95) <= most_of_best
    assert percentile(refused, 0.95) <= most_refused


def test_a_change_costs_at_most_one_window() -> None:
    """For 95 % of the servers a change of limit or window costs at most one window."""
    lost = []
    for seed in range(SERVERS):
        traits = random_traits(seed, headers=("always",), others=False, changes=True)
        assert traits.change is not None
        longest_s = max(traits.window_s, traits.change.window_s)
        lost.append((simulate(traits).took_s - 1.05 * best_s(traits)) / longest_s)
    sys.stdout.write(f"windows lost: p95 {percentile(lost, 0.95):.2f}, worst {max(lost):.2f}\n")
    assert percentile(lost, 0.95) <= 1.0


@pytest.mark.parametrize(
    ("limit", "window_s", "has_headers", "windows", "most_of_ideal", "most_refused"),
    [
        *[(50, window_s, True, 6, 1.4, 0.02) for window_s in (0.7, 1.5, 2.0, 2.5, 7.3)],
        (40, 2.0, False, 10, 1.3, 0.05),
    ],
)
async def test_windows_over_sockets(
    limit: int,
    window_s: float,
    has_headers: bool,
    windows: int,
    most_of_ideal: float,
    most_refused: float,
) -> None:
    """Over real sockets, resets rounded up, almost no request is refused in any window.

    A reset that is rounded up is waited for unless own places are known to be free, so that the
    ideal time is that of whole seconds.
    """
    slices, first = windows * limit, date(2024, 1, 1)
    plan = CostPlan.build(["a1"], first, first + timedelta(days=slices - 1), window="day")
    server = Emulator(
        token="t", rate_limit=RateLimit(limit, window_s), rate_limit_headers=has_headers
    )
    async with (
        server,
        SpotBillingClient("t", base_url=server.base_url, config=ClientConfig()) as client,
    ):
        began_s = time.monotonic()
        async with client.costs.pull(plan) as run:
            async for _ in run:
                pass
    took_s = time.monotonic() - began_s
    refused = run.report.requests - run.report.planned
    ideal_s = (windows - 1) * max(window_s, -(-window_s // 1) if has_headers else window_s)
    sys.stdout.write(
        f"{limit} in {window_s} s: {took_s / ideal_s:.3f} of the ideal, {refused} refused\n"
    )
    assert refused <= max(2, most_refused * slices)
    assert took_s <= most_of_ideal * ideal_s
