"""Retry decisions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    AuthenticationError,
    ConfigError,
    DeadlineExceededError,
    DecodeError,
    NotFoundError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async._core.http.retry import GiveUp, Retry, RetryBudget, decide

POLICY = RetryPolicy(max_attempts=3, backoff_base_s=1.0, backoff_cap_s=4.0)
PASSING = [
    TransportError("reset"),
    DecodeError("cut off"),
    RateLimitedError(429),
    ServerError(503),
]


def decision(
    failure: SpotBillingError,
    *,
    idempotent: bool = True,
    attempt: int = 1,
    left_s: float = 100.0,
    random: float = 1.0,
    policy: RetryPolicy = POLICY,
    limiter_wait_s: float = 0.0,
    budget: RetryBudget | None = None,
) -> Retry | GiveUp:
    return decide(
        policy,
        failure,
        idempotent=idempotent,
        attempts=attempt,
        left_s=left_s,
        limiter_wait_s=limiter_wait_s,
        budget=budget or RetryBudget(policy),
        random=lambda: random,
    )


@pytest.mark.parametrize("failure", PASSING, ids=lambda f: type(f).__name__)
def test_transient_failures_are_retried(failure: SpotBillingError) -> None:
    """Connection failures, broken bodies, 429 and 5xx of an idempotent call are retried."""
    assert isinstance(decision(failure), Retry)


@pytest.mark.parametrize(
    "failure",
    [
        AuthenticationError(401),
        NotFoundError(404),
        DecodeError("x", permanent=True),
        ConfigError("x"),
        DeadlineExceededError("x"),
    ],
    ids=lambda f: type(f).__name__,
)
def test_permanent_failures_are_not_retried(failure: SpotBillingError) -> None:
    """A failure that a retry would repeat is not retried."""
    assert isinstance(decision(failure), GiveUp)


def test_a_change_is_retried_only_if_it_was_not_made() -> None:
    """A call that is not idempotent is retried only if the server did not act on it."""
    assert isinstance(decision(ServerError(500), idempotent=False), GiveUp)
    assert isinstance(decision(TransportError("reset"), idempotent=False), GiveUp)
    assert isinstance(decision(TransportError("refused", sent=False), idempotent=False), Retry)
    assert isinstance(decision(RateLimitedError(429), idempotent=False), Retry)


def test_attempts_are_bounded() -> None:
    """`max_attempts` counts the first request."""
    assert isinstance(decision(ServerError(500), attempt=2), Retry)
    assert isinstance(decision(ServerError(500), attempt=3), GiveUp)
    once = RetryPolicy(max_attempts=1)
    assert isinstance(decision(ServerError(500), policy=once), GiveUp)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_random_wait_is_below_a_doubling_bound(attempt: int, random: float) -> None:
    """The random wait lies between 0 and base * 2^(attempt - 1), never above the cap."""
    policy = RetryPolicy(max_attempts=10_000, backoff_base_s=1.0, backoff_cap_s=4.0)
    decided = decision(ServerError(500), attempt=attempt, random=random, policy=policy)
    assert isinstance(decided, Retry)
    assert 0 <= decided.after_s <= min(4.0, 2.0 ** min(attempt - 1, 10))


def test_the_bound_doubles_up_to_the_cap() -> None:
    """The longest random wait is base, twice and four times base, and then the cap."""
    policy = RetryPolicy(max_attempts=10_000, backoff_base_s=1.5, backoff_cap_s=10.0)
    waits = [
        decision(ServerError(500), attempt=n, policy=policy) for n in (1, 2, 3, 4, 5, 101, 9999)
    ]
    assert waits == [Retry(s) for s in (1.5, 3.0, 6.0, 10.0, 10.0, 10.0, 10.0)]


@pytest.mark.parametrize(
    ("failure", "given", "reason"),
    [
        (NotFoundError(404), {}, "a retry would end the same way"),
        (ServerError(500), {"idempotent": False}, "the server may have acted on it"),
        (ServerError(500), {"attempt": 3}, "3 attempts were made"),
        (RateLimitedError(429), {"policy": RetryPolicy(max_attempts=1)}, "1 attempts were made"),
        (
            RateLimitedError(429),
            {"policy": RetryPolicy(max_attempts=1), "attempt": 0},
            "1 attempts were made",
        ),
        (
            ServerError(503, retry_after_s=7.0),
            {"random": 0.5, "left_s": 7.5},
            "the wait of 7.5 s would pass the deadline",
        ),
        (
            ServerError(503),
            {"limiter_wait_s": 9.0, "left_s": 8.0},
            "the wait of 9 s would pass the deadline",
        ),
        (
            ServerError(503),
            {"policy": RetryPolicy(budget_share=0.0, budget_reserve=0)},
            "the retry budget is spent: too many calls fail",
        ),
    ],
)
def test_a_decision_against_a_retry_says_why(
    failure: SpotBillingError, given: dict[str, Any], reason: str
) -> None:
    """The reason of the first rule that forbids the retry is given."""
    assert decision(failure, **given) == GiveUp(reason)


def test_the_servers_wait_is_kept() -> None:
    """A wait that the server asks for is kept in full, and the random wait is added."""
    asked = ServerError(503, retry_after_s=7.0)
    assert decision(asked, random=0.0) == Retry(7.0)
    assert decision(asked, random=0.5) == Retry(7.5)


def test_the_limiter_times_a_rate_limited_retry() -> None:
    """A rate-limited request has no wait and no attempt limit of its own, only the deadline."""
    refused = RateLimitedError(429, retry_after_s=7.0)
    assert decision(refused, attempt=99, limiter_wait_s=7.0) == Retry(0.0)
    assert isinstance(decision(refused, limiter_wait_s=7.0, left_s=7.0), GiveUp)
    assert isinstance(decision(refused, policy=RetryPolicy(max_attempts=1)), GiveUp)


def test_a_wait_past_the_deadline_fails_at_once() -> None:
    """A wait that would pass the deadline is not started."""
    assert isinstance(decision(ServerError(503, retry_after_s=7.0), left_s=7.0), GiveUp)
    assert isinstance(decision(ServerError(503), limiter_wait_s=7.0, left_s=7.0), GiveUp)


@given(st.lists(st.booleans(), max_size=2000))
def test_the_budget_bounds_all_retries_together(calls: list[bool]) -> None:
    """The budget is a share of the first requests, or the reserve if that is more."""
    budget = RetryBudget(RetryPolicy(budget_share=0.2, budget_reserve=10))
    retries = 0
    for fails in calls:
        budget.calls += 1
        while fails and retries < 10_000 and budget.take():
            retries += 1
    assert retries <= max(10, 0.2 * len(calls))


@pytest.mark.parametrize(
    ("share", "reserve", "calls", "retries"),
    [
        (0.2, 10, 1, 10),
        (0.2, 10, 100, 20),
        (0.5, 0, 100, 50),
        (1.0, 0, 1, 1),
        (0.5, 0, 10_000, 100),
        (0.0, 7, 10_000, 7),
        (0.0, 0, 10_000, 0),
    ],
)
def test_the_budget_is_used_in_full(share: float, reserve: int, calls: int, retries: int) -> None:
    """Calls may make all retries of the budget; earlier calls leave at most a hundred of them."""
    budget = RetryBudget(RetryPolicy(budget_share=share, budget_reserve=reserve))
    budget.calls = calls
    taken = 0
    while taken < 20_000 and budget.take():
        taken += 1
    assert taken == retries


def test_an_empty_budget_ends_retries() -> None:
    """A failure is raised if the budget is spent."""
    policy = RetryPolicy(budget_reserve=1)
    budget = RetryBudget(policy)
    assert isinstance(decision(ServerError(500), policy=policy, budget=budget), Retry)
    assert isinstance(decision(ServerError(500), policy=policy, budget=budget), GiveUp)
    assert isinstance(decision(RateLimitedError(429), policy=policy, budget=budget), Retry)
