"""The limiter against a server's window, on a simulated clock."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS, RouteLimiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from tests.virtual import Server, pull, run_virtually


def quota(limit: int, remaining: int, reset_s: float = 0.0) -> Quota:
    return Quota(limit, remaining, reset_s)


def starts(limiter: RouteLimiter, now_s: float) -> int:
    """Start all requests that the limiter admits now, and return their number."""
    started = 0
    while limiter.wait_s(now_s) == 0:
        limiter.start(now_s)
        started += 1
    return started


def test_a_new_limiter_admits_a_few_requests() -> None:
    """A new limiter admits a few requests; further ones wait for the first response."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(FIRST_REQUESTS) if limiter.wait_s(0.0) == 0]
    assert len(permits) == FIRST_REQUESTS
    assert limiter.wait_s(0.0) == inf
    limiter.on_response(permits[0], 1.0, Quota())
    assert limiter.wait_s(1.0) == 0


def test_requests_ramp_up_exponentially_without_a_known_limit() -> None:
    """Requests ramp up, so that few are in flight when an unknown limit is reached."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(FIRST_REQUESTS)]
    for permit in permits:
        limiter.on_response(permit, 0.001, Quota())
    assert starts(limiter, 0.001) == 0
    assert 0 < limiter.wait_s(0.001) < 0.01
    assert sum(starts(limiter, ms / 1000) for ms in range(2, 21)) > 5
    assert sum(starts(limiter, ms / 1000) for ms in range(21, 201)) > 1000


def test_missed_requests_are_not_sent_in_a_burst() -> None:
    """A process that was busy continues the ramp at its usual rate."""
    limiter = RouteLimiter()
    for permit in [limiter.start(0.0) for _ in range(FIRST_REQUESTS)]:
        limiter.on_response(permit, 0.001, Quota())
    assert starts(limiter, 0.1) < 5


def test_the_remaining_quota_may_start() -> None:
    """The remaining quota takes other consumers' requests into account."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.1, quota(10, 5))
    assert starts(limiter, 0.1) == 5


def test_a_rejection_closes_the_limiter_until_the_reset() -> None:
    """Of several rejections the latest reset applies; then one request is sent alone."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(3)]
    limiter.on_rejected(permits[0], 1.0, quota(2, 0, 5.0), 5.0)
    limiter.on_rejected(permits[1], 1.5, quota(2, 0, 1.0), 1.0)
    limiter.on_rejected(permits[2], 2.0, Quota(), None)
    assert limiter.wait_s(2.0) == 4.0
    assert limiter.wait_s(6.0) == 0
    probe = limiter.start(6.0)
    assert limiter.wait_s(6.0) > 0
    limiter.on_response(probe, 6.1, quota(2, 1))
    assert limiter.wait_s(6.1) == 0


def test_pauses_double_without_a_reported_reset() -> None:
    """Pauses are counted from the first rejection, and last at most an hour."""
    limiter = RouteLimiter(first_pause_s=0.5)
    now_s = 0.0
    pauses = []
    for _ in range(20):
        permit = limiter.start(now_s)
        limiter.on_rejected(permit, now_s, Quota(), None)
        wait_s = limiter.wait_s(now_s)
        pauses.append(wait_s)
        now_s += wait_s
    assert pauses[:4] == [0.5, 0.5, 1.0, 2.0]
    assert max(pauses) == 3600


def test_an_hour_is_the_longest_wait() -> None:
    """A wait lasts at most an hour, as a client may outlive a proxy's retry hint."""
    limiter = RouteLimiter()
    limiter.on_rejected(limiter.start(0.0), 0.0, Quota(), 1e9)
    assert limiter.wait_s(0.0) == 3600


def test_the_newest_requests_reading_counts() -> None:
    """Responses come out of order; that of the request sent last has the remaining quota."""
    limiter = RouteLimiter()
    first, second = limiter.start(0.0), limiter.start(0.0)
    limiter.on_response(second, 0.1, quota(10, 2))
    limiter.on_response(first, 0.2, quota(10, 9))
    assert starts(limiter, 0.2) == 2


def test_a_request_that_was_never_sent_takes_no_place() -> None:
    """A call cancelled before it is sent returns its place."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, quota(2, 1))
    limiter.on_lost(limiter.start(0.0), 0.0, sent=False)
    assert limiter.wait_s(0.0) == 0
    limiter.on_lost(limiter.start(0.0), 0.0, sent=True)
    assert limiter.wait_s(0.0) > 0


CASES = pytest.mark.parametrize(
    ("limit", "seed"),
    # The largest limit takes three quarters of the time.
    [*((limit, seed) for limit in (20, 100) for seed in range(3)), (500, 0)],
)


@CASES
@pytest.mark.parametrize("window_s", [2.0, 60.0])
def test_close_to_all_of_the_quota_is_used(limit: int, window_s: float, seed: int) -> None:
    """With unknown window and limit, at most 0.5 % are rejected and no place is idle for long."""
    server = Server(RateLimit(limit, window_s), seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.05 * 9 * window_s
    assert server.rejections <= 0.005 * 10 * limit


@CASES
@pytest.mark.parametrize("window_s", [2.0, 60.0])
@pytest.mark.parametrize("is_late", [False, True])
def test_other_consumers_are_taken_into_account(
    limit: int, window_s: float, is_late: bool, seed: int
) -> None:
    """If others use 30 % in bursts, the rest is used and at most 1 % are rejected."""
    server = Server(RateLimit(limit, window_s), other_share=0.3, other_is_late=is_late, seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.10 * (10 / 0.7 - 1) * window_s
    assert server.rejections <= max(2, 0.01 * 10 * limit)


@CASES
def test_the_quota_is_learned_from_rejections_alone(limit: int, seed: int) -> None:
    """Without headers there are a few more rejections, and it takes somewhat longer."""
    server = Server(RateLimit(limit, 2.0), sends_headers=False, seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.3 * 18
    assert server.rejections <= 0.05 * 10 * limit


def learned(limit: int, window_s: float) -> tuple[RouteLimiter, float]:
    """Return a limiter that knows window and limit, with the whole quota free, and the time."""
    limiter, now_s = RouteLimiter(), 1000.0
    for used in range(2 * limit):
        while limiter.wait_s(now_s):
            now_s += limiter.wait_s(now_s)
        remaining = limit - 1 - used % limit
        reset_s = window_s if remaining == 0 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, quota(limit, remaining, reset_s))
    assert limiter.window_s == window_s
    return limiter, now_s + 2 * window_s


def test_a_slow_request_delays_no_other() -> None:
    """Places become free in the order in which requests ended, not started."""
    limiter, now_s = learned(20, 1.0)
    limiter.start(now_s)  # without a response
    for used in range(19):
        reset_s = 1.0 if used == 18 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, quota(20, 18 - used, reset_s))
    assert limiter.wait_s(now_s) == 1.0
    started = starts(limiter, now_s + 1.0)
    assert started == 2, "the reading is old: the rest starts after the next response"


def test_headers_may_disappear() -> None:
    """After a window without headers the limit is a guess, and old readings are ignored."""
    limiter, now_s = learned(5, 1.0)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    assert not limiter.has_quota_headers
    assert starts(limiter, now_s) == 4


def test_a_reported_reset_is_probed_to_learn_the_window() -> None:
    """Calls at long intervals reveal little, so the reset reported after a burst is probed."""
    limiter, now_s = RouteLimiter(), 1000.0
    for _ in range(5):
        limiter.on_response(limiter.start(now_s), now_s, quota(10, 9))
        now_s += 30.0
    assert limiter.window_s == 60.0
    for used in range(10):
        limiter.on_response(
            limiter.start(now_s), now_s, quota(10, 9 - used, 1.0 if used == 9 else 0.0)
        )
    assert limiter.wait_s(now_s) == 1.0
    limiter.on_response(limiter.start(now_s + 1.0), now_s + 1.0, quota(10, 9))
    assert limiter.window_s == 1.0


def exhaust(limiter: RouteLimiter, now_s: float, limit: int, reset_s: float) -> None:
    """Use up the whole quota at once."""
    for used in range(limit):
        header_s = reset_s if used == limit - 1 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, quota(limit, limit - 1 - used, header_s))


def test_a_rejected_probe_delays_the_next_one() -> None:
    """After a rejected probe the limiter waits for places of its own, not for the next reset."""
    limiter, now_s = learned(10, 10.0)
    for used in range(5):  # others use the rest
        header_s = 3.0 if used == 4 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, quota(10, 4 - used, header_s))
    assert limiter.wait_s(now_s + 2.5) == 0.5
    limiter.on_rejected(limiter.start(now_s + 3.0), now_s + 3.0, quota(10, 0, 1.0), 1.0)
    limiter.on_response(limiter.start(now_s + 4.0), now_s + 4.0, quota(10, 0, 2.0))
    assert limiter.wait_s(now_s + 6.5) == 3.5, "after the reset, but no own place is free"
    assert limiter.wait_s(now_s + 10.0) == 0


def test_a_longer_window_is_learned_anew() -> None:
    """A reset further away than the window's length proves that it has changed."""
    limiter, now_s = learned(5, 1.0)
    exhaust(limiter, now_s, 5, 1.0)
    limiter.on_rejected(limiter.start(now_s + 1.0), now_s + 1.0, quota(5, 0, 30.0), 30.0)
    assert 30.0 <= limiter.window_s <= 31.0


def test_a_missing_reset_does_not_bound_the_window() -> None:
    """Without a reported reset a probe is sent soon, and the window's length stays unknown."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, quota(2, 1))
    limiter.on_response(limiter.start(0.0), 0.0, Quota(2, 0, None))
    assert 0 < limiter.wait_s(0.0) < 1
    assert limiter.window_s == 60.0


def guessed(limit: int) -> tuple[RouteLimiter, float]:
    """Return a limiter without headers after its first rejection, and the time it opens again."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, Quota())
    for _ in range(limit - 1):
        limiter.on_response(limiter.start(1.0), 1.0, Quota())
    limiter.on_rejected(limiter.start(1.0), 1.0, Quota(), None)
    return limiter, 1.0 + limiter.wait_s(1.0)


def test_requests_accepted_before_the_first_rejection_are_the_limit() -> None:
    """The guessed limit counts accepted requests, also those whose response comes later."""
    limiter, now_s = RouteLimiter(), 1.0
    early = [limiter.start(0.0) for _ in range(3)]
    limiter.on_response(early[0], 1.0, Quota())
    late = limiter.start(now_s)
    limiter.on_rejected(late, now_s, Quota(), None)
    for permit in early[1:]:
        limiter.on_response(permit, now_s, Quota())
    now_s += limiter.wait_s(now_s)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    later_s = now_s + 200.0
    assert starts(limiter, later_s) == 3


def test_a_later_rejection_at_most_halves_a_guessed_limit() -> None:
    """A rejection at most halves a guessed limit: it may be due to an underestimated window."""
    limiter, now_s = guessed(8)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    now_s += 200.0
    limiter.on_rejected(limiter.start(now_s), now_s, Quota(), None)
    now_s += limiter.wait_s(now_s)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    assert limiter.rate_limit is not None
    assert limiter.rate_limit.requests == 4


@given(
    st.integers(1, 40),
    st.sampled_from([0.5, 1.0, 2.0, 2.5, 7.3, 60.0, 90.0]),
    st.booleans(),
    st.floats(0.0001, 0.3),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.integers(0, 10),
)
def test_every_request_is_sent_eventually(
    limit: int,
    window_s: float,
    sends_headers: bool,
    latency_s: float,
    other_share: float,
    seed: int,
) -> None:
    """No request waits for ever, for any window and any other consumers."""
    server = Server(
        RateLimit(limit, window_s),
        sends_headers=sends_headers,
        latency_s=latency_s,
        other_share=other_share,
        seed=seed,
    )
    assert run_virtually(pull(server, 3 * limit, workers=8)) > 0


QUOTAS = st.builds(
    Quota,
    st.none() | st.integers(1, 5) | st.integers(1, 10**9),
    st.none() | st.integers(0, 5) | st.integers(0, 10**9),
    st.none() | st.floats(0, 5) | st.floats(0, 3600),
)


@given(st.lists(st.tuples(st.integers(0, 6), QUOTAS, st.floats(0, 100)), max_size=60))
def test_a_limiter_opens_again_after_any_headers(events: list[tuple[int, Quota, float]]) -> None:
    """A request may always start within an hour, even after contradictory headers."""
    limiter, now_s = RouteLimiter(), 1000.0
    in_flight: list[Permit] = []
    for event, headers, pause_s in events:
        now_s += pause_s
        if event >= 3 and limiter.wait_s(now_s) == 0:
            in_flight.append(limiter.start(now_s))
        elif in_flight and event == 0:
            limiter.on_response(in_flight.pop(0), now_s, headers)
        elif in_flight and event == 1:
            limiter.on_rejected(in_flight.pop(), now_s, headers, headers.reset_s)
        elif in_flight:
            limiter.on_lost(in_flight.pop(), now_s, sent=headers.limit is None)
    for permit in in_flight:
        limiter.on_response(permit, now_s, Quota())
    ends_s = now_s + 3700
    closed_until_s = now_s + limiter.min_wait_s(now_s)
    while (wait_s := limiter.wait_s(now_s)) and now_s < ends_s:
        assert 0 < wait_s < inf
        now_s += max(wait_s, 0.001)  # the resolution of timers
    assert closed_until_s - 0.002 <= now_s < ends_s


def test_a_refusal_before_all_else_tells_nothing_of_the_limit() -> None:
    """A client whose quota others have used up is not held to one request per window then."""
    limiter = RouteLimiter()
    permit = limiter.start(0.0)
    limiter.on_rejected(permit, 0.1, Quota(), retry_after_s=1.0)
    assert limiter.wait_s(1.2) == 0
    limiter.on_response(limiter.start(1.2), 1.3, Quota())
    assert limiter.rate_limit is None
    sent_s = 1.3
    for _ in range(8):
        assert limiter.wait_s(sent_s) < 1
        sent_s += limiter.wait_s(sent_s)
        limiter.on_response(limiter.start(sent_s), sent_s + 0.1, Quota())
