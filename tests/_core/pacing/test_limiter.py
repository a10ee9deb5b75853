"""When the next request may start: the gate against a server's window, on a clock of the test's."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async._core.pacing.limiter import FIRST_REQUESTS, RouteLimiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator import RateLimit
from tests.virtual import Server, pull, run_virtually


def told(limit: int, remaining: int, reset_s: float = 0.0) -> Quota:
    return Quota(limit, remaining, reset_s)


def starts(limiter: RouteLimiter, now_s: float) -> int:
    """How many requests the gate lets through at once."""
    started = 0
    while limiter.wait_s(now_s) == 0:
        limiter.start(now_s)
        started += 1
    return started


def test_a_new_gate_lets_a_handful_through() -> None:
    """Until the first answer nothing is known: more wait for it, without a timer."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(FIRST_REQUESTS) if limiter.wait_s(0.0) == 0]
    assert len(permits) == FIRST_REQUESTS
    assert limiter.wait_s(0.0) == inf
    limiter.on_response(permits[0], 1.0, Quota())
    assert limiter.wait_s(1.0) == 0


def test_a_server_that_tells_nothing_is_approached_faster_and_faster() -> None:
    """So that its limit, should it have one, is met with few requests under way."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(FIRST_REQUESTS)]
    for permit in permits:
        limiter.on_response(permit, 0.001, Quota())
    assert starts(limiter, 0.001) == 0
    assert 0 < limiter.wait_s(0.001) < 0.01
    assert sum(starts(limiter, ms / 1000) for ms in range(2, 21)) > 5
    assert sum(starts(limiter, ms / 1000) for ms in range(21, 201)) > 1000


def test_what_was_late_is_not_made_up_for() -> None:
    """A process that was busy does not send all that it has missed in a burst."""
    limiter = RouteLimiter()
    for permit in [limiter.start(0.0) for _ in range(FIRST_REQUESTS)]:
        limiter.on_response(permit, 0.001, Quota())
    assert starts(limiter, 0.1) < 5


def test_what_remains_is_what_may_start() -> None:
    """The limit, less the own requests and those of others."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.1, told(10, 5))
    assert starts(limiter, 0.1) == 5


def test_a_refusal_closes_the_gate_until_the_reset() -> None:
    """Of several the latest reset counts; then one goes ahead alone."""
    limiter = RouteLimiter()
    permits = [limiter.start(0.0) for _ in range(3)]
    limiter.on_rejected(permits[0], 1.0, told(2, 0, 5.0), 5.0)
    limiter.on_rejected(permits[1], 1.5, told(2, 0, 1.0), 1.0)
    limiter.on_rejected(permits[2], 2.0, Quota(), None)
    assert limiter.wait_s(2.0) == 4.0
    assert limiter.wait_s(6.0) == 0
    probe = limiter.start(6.0)
    assert limiter.wait_s(6.0) > 0
    limiter.on_response(probe, 6.1, told(2, 1))
    assert limiter.wait_s(6.1) == 0


def test_pauses_double_where_no_reset_is_told() -> None:
    """Counted from the first refusal, and at most an hour apart."""
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
    """A client may outlive a proxy's word."""
    limiter = RouteLimiter()
    limiter.on_rejected(limiter.start(0.0), 0.0, Quota(), 1e9)
    assert limiter.wait_s(0.0) == 3600


def test_the_freshest_word_counts() -> None:
    """Answers come out of order: that of the request sent last tells what remains."""
    limiter = RouteLimiter()
    first, second = limiter.start(0.0), limiter.start(0.0)
    limiter.on_response(second, 0.1, told(10, 2))
    limiter.on_response(first, 0.2, told(10, 9))
    assert starts(limiter, 0.2) == 2


def test_a_request_that_was_never_sent_takes_no_place() -> None:
    """A call that is cancelled before it is sent gives its place back."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, told(2, 1))
    limiter.on_lost(limiter.start(0.0), 0.0, sent=False)
    assert limiter.wait_s(0.0) == 0
    limiter.on_lost(limiter.start(0.0), 0.0, sent=True)
    assert limiter.wait_s(0.0) > 0


LIMITS = pytest.mark.parametrize("limit", [20, 100, 500])


@LIMITS
@pytest.mark.parametrize("window_s", [2.0, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_close_to_all_of_the_quota_is_used(limit: int, window_s: float, seed: int) -> None:
    """Window and limit are unknown; next to none is refused, and no place idles for long."""
    server = Server(RateLimit(limit, window_s), seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.05 * 9 * window_s
    assert server.refusals <= 0.005 * 10 * limit


@LIMITS
@pytest.mark.parametrize("window_s", [2.0, 60.0])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_other_consumers_are_made_room_for(
    limit: int, window_s: float, is_late: bool, seed: int
) -> None:
    """Where others use 30 % in bursts, the rest is used, and next to none is refused."""
    server = Server(RateLimit(limit, window_s), other_share=0.3, other_is_late=is_late, seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.10 * (10 / 0.7 - 1) * window_s
    assert server.refusals <= max(2, 0.01 * 10 * limit)


@LIMITS
@pytest.mark.parametrize("seed", range(3))
def test_the_quota_is_learned_from_refusals_alone(limit: int, seed: int) -> None:
    """Without headers: a few more refusals, and somewhat more time."""
    server = Server(RateLimit(limit, 2.0), tells=False, seed=seed)
    took_s = run_virtually(pull(server, 10 * limit))
    assert took_s <= 1.3 * 18
    assert server.refusals <= 0.05 * 10 * limit


def learned(limit: int, window_s: float) -> tuple[RouteLimiter, float]:
    """A gate that knows its server, of a quota all of which is free; and the time."""
    limiter, now_s = RouteLimiter(), 1000.0
    for used in range(2 * limit):
        while limiter.wait_s(now_s):
            now_s += limiter.wait_s(now_s)
        remaining = limit - 1 - used % limit
        reset_s = window_s if remaining == 0 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, told(limit, remaining, reset_s))
    assert limiter.window_s == window_s
    return limiter, now_s + 2 * window_s


def test_a_slow_request_holds_nobody_back() -> None:
    """Places become free in the order in which requests ended, not in which they began."""
    limiter, now_s = learned(20, 1.0)
    limiter.start(now_s)  # and no answer comes
    for used in range(19):
        reset_s = 1.0 if used == 18 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, told(20, 18 - used, reset_s))
    assert limiter.wait_s(now_s) == 1.0
    part = starts(limiter, now_s + 1.0)
    assert part == 2, "the word is old by now: the rest goes when an answer has told more"


def test_headers_that_disappear_are_not_waited_for() -> None:
    """After a window without them the limit is a guess, and the old words count no more."""
    limiter, now_s = learned(5, 1.0)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    assert not limiter.has_quota_headers
    assert starts(limiter, now_s) == 4


def test_a_window_that_seems_too_long_is_asked_about_at_the_reset() -> None:
    """A few calls far apart show little; the reset that a burst is told is tried."""
    limiter, now_s = RouteLimiter(), 1000.0
    for _ in range(5):
        limiter.on_response(limiter.start(now_s), now_s, told(10, 9))
        now_s += 30.0
    assert limiter.window_s == 60.0
    for used in range(10):
        limiter.on_response(
            limiter.start(now_s), now_s, told(10, 9 - used, 1.0 if used == 9 else 0.0)
        )
    assert limiter.wait_s(now_s) == 1.0
    limiter.on_response(limiter.start(now_s + 1.0), now_s + 1.0, told(10, 9))
    assert limiter.window_s == 1.0


def full(limiter: RouteLimiter, now_s: float, limit: int, reset_s: float) -> None:
    """Use all that remains, in no time."""
    for used in range(limit):
        told_s = reset_s if used == limit - 1 else 0.0
        limiter.on_response(limiter.start(now_s), now_s, told(limit, limit - 1 - used, told_s))


def test_who_asked_in_vain_at_a_reset_waits_long_before_the_next() -> None:
    """Others were faster, and will be again; own places are waited for instead."""
    limiter, now_s = learned(10, 10.0)
    full(limiter, now_s, 10, 3.0)
    assert limiter.wait_s(now_s + 2.5) == 0.5
    limiter.on_rejected(limiter.start(now_s + 3.0), now_s + 3.0, told(10, 0, 1.0), 1.0)
    limiter.on_response(limiter.start(now_s + 4.0), now_s + 4.0, told(10, 0, 2.0))
    assert limiter.wait_s(now_s + 6.5) == 3.5, "the reset has passed, but own places are not free"
    assert limiter.wait_s(now_s + 10.0) == 0


def test_a_window_that_has_become_longer_is_learned_anew() -> None:
    """A reset further away than the window is long cannot be."""
    limiter, now_s = learned(5, 1.0)
    full(limiter, now_s, 5, 1.0)
    limiter.on_rejected(limiter.start(now_s + 1.0), now_s + 1.0, told(5, 0, 30.0), 30.0)
    assert limiter.window_s == 60.0


def test_a_reset_that_was_not_told_proves_nothing() -> None:
    """It is tried soon, but does not bound the window."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, told(2, 1))
    limiter.on_response(limiter.start(0.0), 0.0, Quota(2, 0, None))
    assert 0 < limiter.wait_s(0.0) < 1
    assert limiter.window_s == 60.0


def guessed(limit: int) -> tuple[RouteLimiter, float]:
    """A gate without headers after its first refusal, and the time at which it opens again."""
    limiter = RouteLimiter()
    limiter.on_response(limiter.start(0.0), 0.0, Quota())
    for _ in range(limit - 1):
        limiter.on_response(limiter.start(1.0), 1.0, Quota())
    limiter.on_rejected(limiter.start(1.0), 1.0, Quota(), None)
    return limiter, 1.0 + limiter.wait_s(1.0)


def test_what_passed_before_the_first_refusal_is_the_limit() -> None:
    """Also what is known of only after it, as its answer was slower."""
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


def test_a_guessed_limit_is_at_most_halved_by_a_later_refusal() -> None:
    """Which may have been met for a window that is taken for shorter than it is."""
    limiter, now_s = guessed(8)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    now_s += 200.0
    limiter.on_rejected(limiter.start(now_s), now_s, Quota(), None)
    now_s += limiter.wait_s(now_s)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    assert starts(limiter, now_s + 200.0) == 4


def test_a_guessed_limit_is_tried_higher_after_quiet_times() -> None:
    """Others may have left, or the guess was too low."""
    limiter, now_s = guessed(8)
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    now_s += 1000.0
    limiter.on_response(limiter.start(now_s), now_s, Quota())
    assert starts(limiter, now_s + 200.0) == 9


@given(
    st.integers(1, 40),
    st.sampled_from([0.5, 1.0, 2.0, 2.5, 7.3, 60.0, 90.0]),
    st.booleans(),
    st.floats(0.0001, 0.3),
    st.sampled_from([0.0, 0.3, 0.9]),
    st.integers(0, 10),
)
def test_every_request_is_sent_in_the_end(
    limit: int, window_s: float, tells: bool, latency_s: float, other_share: float, seed: int
) -> None:
    """Whatever the server's window is, and whoever shares it: nobody waits for ever."""
    server = Server(
        RateLimit(limit, window_s),
        tells=tells,
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
def test_a_gate_opens_again_whatever_is_told(happenings: list[tuple[int, Quota, float]]) -> None:
    """After words that contradict each other, too: within an hour a request may start, ever."""
    limiter, now_s = RouteLimiter(), 1000.0
    under_way: list[Permit] = []
    for what, quota, pause_s in happenings:
        now_s += pause_s
        if what >= 3 and limiter.wait_s(now_s) == 0:
            under_way.append(limiter.start(now_s))
        elif under_way and what == 0:
            limiter.on_response(under_way.pop(0), now_s, quota)
        elif under_way and what == 1:
            limiter.on_rejected(under_way.pop(), now_s, quota, quota.reset_s)
        elif under_way:
            limiter.on_lost(under_way.pop(), now_s, sent=quota.limit is None)
    for permit in under_way:
        limiter.on_response(permit, now_s, Quota())
    ends_s = now_s + 3700
    due_at_s = now_s + limiter.min_wait_s(now_s)
    while (wait_s := limiter.wait_s(now_s)) and now_s < ends_s:
        assert 0 < wait_s < inf
        now_s += max(wait_s, 0.001)  # a timer has no finer grain
    assert due_at_s - 0.002 <= now_s < ends_s
