"""The concurrency limit, against simulated servers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS
from tests.virtual import Server, pull, run_virtually


@pytest.mark.parametrize(
    ("capacity", "seed"),
    [*((capacity, seed) for capacity in (4, 32) for seed in range(3)), (128, 0)],
)
def test_an_unknown_capacity_is_used(capacity: int, seed: int) -> None:
    """At least 90 % of the capacity is used, and at most 1 % of the requests are rejected."""
    server = Server(capacity=capacity, seed=seed)
    requests = 100 * capacity
    took_s = run_virtually(pull(server, requests, workers=512))
    assert requests / capacity * server.service_s >= 0.9 * took_s
    assert server.overloads <= 0.01 * requests


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_a_very_small_capacity_is_found(capacity: int) -> None:
    """The first requests may overload the server, and the limit is lowered at once."""
    server = Server(capacity=capacity)
    took_s = run_virtually(pull(server, 200 * capacity, workers=64))
    assert took_s <= 200 * server.service_s / 0.8
    assert server.overloads <= 2 * FIRST_REQUESTS


def test_the_limit_never_exceeds_max_concurrency() -> None:
    """The maximum applies from the start."""
    assert ConcurrencyLimit(3).limit == 3
    limit = ConcurrencyLimit(24)
    for now_s in range(1, 20):
        while limit.room(has_quota_headers=False):
            limit.start(has_quota_headers=False)
        for _ in range(limit.limit):
            limit.end(has_quota_headers=False)
            limit.on_response(0.05, now_s, now_s + 0.5)
    assert limit.limit == 24


def test_requests_with_quota_headers_do_not_use_up_the_limit() -> None:
    """Operations with and without quota headers share the connections, but not the limit."""
    limit = ConcurrencyLimit(64)
    for _ in range(32):
        limit.start(has_quota_headers=True)
    assert limit.room(has_quota_headers=False)
    for _ in range(FIRST_REQUESTS):
        limit.start(has_quota_headers=False)
    assert not limit.room(has_quota_headers=False)
    assert limit.room(has_quota_headers=True)


@pytest.mark.parametrize("seed", range(5))
def test_queries_of_different_size_do_not_lower_the_limit(seed: int) -> None:
    """The limit grows while the server is not busy, however much response times differ."""
    rng = random.Random(seed)  # noqa: S311  for a model, not for a secret
    limit = ConcurrencyLimit(64)
    for now_s in range(1, 400):
        times_s = [rng.choice((0.005, 0.5)) for _ in range(limit.limit)]
        for _ in times_s:
            limit.start(has_quota_headers=False)
        for time_s in times_s:
            limit.end(has_quota_headers=False)
            limit.on_response(time_s, now_s, now_s + 0.5)
    assert limit.limit >= 32


def test_an_overload_halves_the_limit() -> None:
    """Rejections of concurrent requests count once, and the limit stays at least 1."""
    limit = ConcurrencyLimit(64)
    for _ in range(5):
        limit.on_overload(0.0, 1.0)
    assert limit.limit == FIRST_REQUESTS // 4
    for now_s in range(2, 9):
        limit.on_overload(now_s - 0.5, now_s)
    assert limit.limit == 1


def test_an_unreached_limit_does_not_grow() -> None:
    """A limit that was never reached gives no evidence of more capacity."""
    limit = ConcurrencyLimit(64)
    for now_s in range(100):
        limit.start(has_quota_headers=False)
        limit.end(has_quota_headers=False)
        limit.on_response(0.01, now_s, now_s)
    assert limit.limit == FIRST_REQUESTS


@given(st.integers(1, 300), st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=500))
def test_the_limit_stays_in_its_bounds(maximum: int, responses: list[tuple[float, bool]]) -> None:
    """The limit stays between 1 and the maximum for any response times."""
    limit = ConcurrencyLimit(maximum)
    for now_s, (elapsed_s, is_overload) in enumerate(responses):
        while limit.room(has_quota_headers=False):
            limit.start(has_quota_headers=False)
        limit.end(has_quota_headers=False)
        if is_overload:
            limit.on_overload(now_s - 0.5, now_s)
        else:
            limit.on_response(elapsed_s, now_s - 0.5, now_s)
        assert 1 <= limit.limit <= maximum
