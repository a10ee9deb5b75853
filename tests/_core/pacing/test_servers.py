"""The limiter in front of simulated servers that it was not shaped by.

`tests/soak/test_pacing.py` runs many more of them, and prints what it finds.
"""

import msgspec
import pytest

from spot_billing_async._core.pacing.limiter import RouteLimiter
from tests._core.pacing.servers import (
    Change,
    Headers,
    Traits,
    best_s,
    percentile,
    random_traits,
    simulate,
)

SERVERS = 15


def small(seed: int, headers: Headers, *, others: bool = False, changes: bool = False) -> Traits:
    """Return a random server of a low limit, so that its simulation is fast."""
    return msgspec.structs.replace(
        random_traits(10_000 + seed, headers=(headers,), others=others, changes=changes, most=40),
        requests=400,
    )


@pytest.mark.parametrize(
    ("headers", "others", "most_of_best", "most_refused"),
    [
        ("always", False, 1.10, 0.03),
        ("always", True, 1.15, 0.10),
        ("at zero", False, 1.3, 0.15),
        ("never", False, 2.0, 0.15),
    ],
)
def test_random_servers_are_paced(
    headers: Headers, others: bool, most_of_best: float, most_refused: float
) -> None:
    """Makespan and refusals stay close to the best schedule's, whatever the server counts in."""
    ratios, refused = [], []
    for seed in range(SERVERS):
        traits = small(seed, headers, others=others)
        result = simulate(traits)
        assert result.too_early == 0
        ratios.append(result.took_s / best_s(traits))
        refused.append(result.refused / traits.requests)
    assert percentile(ratios, 0.8) <= most_of_best
    assert percentile(refused, 0.8) <= most_refused


@pytest.mark.parametrize("seed", range(5))
def test_a_change_costs_at_most_one_window(seed: int) -> None:
    """A server that changes its limit or window in mid-run costs at most one window."""
    traits = small(seed, "always", changes=True)
    assert traits.change is not None
    longest_s = max(traits.window_s, traits.change.window_s)
    assert simulate(traits).took_s <= 1.05 * best_s(traits) + longest_s


def server(headers: Headers, window_s: float, limit: int, requests: int) -> Traits:
    """Return a server that counts in a log, with exact resets."""
    return Traits("log", limit, window_s, headers, "exact", 1, False, "none", 0, 0.01, requests, 1)


@pytest.mark.parametrize("window_s", [0.7, 1.5, 2.0, 2.5, 7.3, 60.0, 3600.0])
@pytest.mark.parametrize("rounding", ["up", "exact"])
def test_any_window_is_learned_from_resets(window_s: float, rounding: str) -> None:
    """Windows that are not whole seconds are not refused in every window."""
    traits = msgspec.structs.replace(server("always", window_s, 20, 200), rounding=rounding)
    result = simulate(traits)
    assert result.refused <= 6  # of 200; nearly always at most 2
    assert result.took_s <= 1.10 * best_s(traits)


@pytest.mark.parametrize("window_s", [0.7, 1.5, 2.0, 2.5, 7.3])
def test_a_window_without_headers_is_learned_in_both_directions(window_s: float) -> None:
    """A rejection proves that the window is longer, and quiet time tests whether it is shorter."""
    limiter = RouteLimiter()
    result = simulate(server("never", window_s, 40, 1200), limiter)
    assert result.refused <= 60
    assert limiter.rate_limit is not None
    rate = limiter.rate_limit.requests / limiter.rate_limit.window_s
    assert 0.6 <= rate * window_s / 40 <= 1.05


def test_a_guessed_limit_is_raised_after_quiet_periods() -> None:
    """A guessed limit grows: the guess may have been too low, or the server's limit has grown."""
    limiter = RouteLimiter()
    traits = server("never", 2.0, 8, 1500)
    simulate(msgspec.structs.replace(traits, change=Change(30.0, 16, 2.0)), limiter)
    assert limiter.rate_limit is not None
    assert limiter.rate_limit.requests > 8
