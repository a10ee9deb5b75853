"""When the next request may start: the gate against a server's window, on a clock of the test's."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.emulator import RateLimit
from spot_billing_async.emulator.rate_limit import SlidingWindow
from spot_billing_async.pacing import FIRST_REQUESTS, Gate
from spot_billing_async.quota import Quota


def told(limit: int, remaining: int, reset_s: float = 0.0) -> Quota:
    return Quota(limit, remaining, reset_s)


def starts(gate: Gate, now_s: float) -> int:
    """How many requests the gate lets through at once."""
    started = 0
    while gate.wait_s(now_s) == 0:
        gate.start(now_s)
        started += 1
    return started


def test_a_new_gate_lets_a_handful_through() -> None:
    """Until the first answer nothing is known: more wait for it, without a timer."""
    gate = Gate()
    tickets = [gate.start(0.0) for _ in range(FIRST_REQUESTS) if gate.wait_s(0.0) == 0]
    assert len(tickets) == FIRST_REQUESTS
    assert gate.wait_s(0.0) == inf
    gate.answered(tickets[0], 0.1, Quota())
    assert gate.wait_s(0.1) == 0


def test_what_remains_is_what_may_start() -> None:
    """The limit, less the own requests and those of others."""
    gate = Gate()
    gate.answered(gate.start(0.0), 0.1, told(10, 5))
    assert starts(gate, 0.1) == 5


def test_a_refusal_closes_the_gate_until_the_reset() -> None:
    """Of several the latest reset counts; then one goes ahead alone."""
    gate = Gate()
    tickets = [gate.start(0.0) for _ in range(3)]
    gate.refused(tickets[0], 1.0, told(2, 0, 5.0), 5.0)
    gate.refused(tickets[1], 1.5, told(2, 0, 1.0), 1.0)
    gate.refused(tickets[2], 2.0, Quota(), None)
    assert gate.wait_s(2.0) == 4.0
    assert gate.wait_s(6.0) == 0
    probe = gate.start(6.0)
    assert gate.wait_s(6.0) > 0
    gate.answered(probe, 6.1, told(2, 1))
    assert gate.wait_s(6.1) == 0


def test_pauses_double_where_no_reset_is_told() -> None:
    """Counted from the first refusal, and at most a documented window apart."""
    gate = Gate(first_pause_s=0.5)
    now_s = 0.0
    pauses = []
    for _ in range(10):
        ticket = gate.start(now_s)
        gate.refused(ticket, now_s, Quota(), None)
        wait_s = gate.wait_s(now_s)
        pauses.append(wait_s)
        now_s += wait_s
    assert pauses[:4] == [0.5, 0.5, 1.0, 2.0]
    assert max(pauses) <= 60


def test_an_hour_is_the_longest_wait() -> None:
    """A client may outlive a proxy's word."""
    gate = Gate()
    gate.refused(gate.start(0.0), 0.0, Quota(), 1e9)
    assert gate.wait_s(0.0) == 3600


def test_the_freshest_word_counts() -> None:
    """Answers come out of order: that of the request sent last tells what remains."""
    gate = Gate()
    first, second = gate.start(0.0), gate.start(0.0)
    gate.answered(second, 0.1, told(10, 2))
    gate.answered(first, 0.2, told(10, 9))
    assert starts(gate, 0.2) == 2


def test_a_request_that_was_never_sent_takes_no_place() -> None:
    """A call that is cancelled before it is sent gives its place back."""
    gate = Gate()
    gate.answered(gate.start(0.0), 0.0, told(2, 1))
    gate.dropped(gate.start(0.0), 0.0, sent=False)
    gate.dropped(gate.start(0.0), 0.0, sent=True)
    assert gate.wait_s(0.0) > 0


def pull(
    limit: RateLimit, requests: int, *, headers: bool = True, latency_s: float = 0.002
) -> tuple[float, int]:
    """Send requests one after the other as the gate allows; the time they take, and refusals."""
    gate, window = Gate(), SlidingWindow(limit)
    now_s, refusals, done = 1.0, 0, 0
    while done < requests:
        wait_s = gate.wait_s(now_s)
        assert wait_s < inf
        now_s += wait_s
        if wait_s:
            continue
        ticket = gate.start(now_s)
        verdict = window.admit(now_s + latency_s / 2)
        now_s += latency_s
        reset_s = float(-(-verdict.reset_s // 1))
        quota = told(limit.requests, verdict.remaining, reset_s) if headers else Quota()
        if verdict.allowed:
            gate.answered(ticket, now_s, quota)
            done += 1
        else:
            refusals += 1
            gate.refused(ticket, now_s, quota, reset_s if headers else None)
    return now_s - 1.0, refusals


@pytest.mark.parametrize("limit", [20, 100, 500])
@pytest.mark.parametrize("window_s", [2.0, 60.0])
def test_close_to_all_of_the_quota_is_used(limit: int, window_s: float) -> None:
    """Window and limit are unknown; in virtual time next to none is refused, and none idles."""
    latency_s = window_s / limit / 10
    took_s, refusals = pull(RateLimit(limit, window_s), 10 * limit, latency_s=latency_s)
    assert took_s <= 1.05 * 9 * window_s + limit * latency_s
    assert refusals <= 0.005 * 10 * limit


@pytest.mark.parametrize("limit", [20, 100, 500])
def test_the_quota_is_learned_from_refusals_alone(limit: int) -> None:
    """Without headers: a few more refusals, and somewhat more time."""
    latency_s = 2.0 / limit / 10
    took_s, refusals = pull(RateLimit(limit, 2.0), 10 * limit, headers=False, latency_s=latency_s)
    assert took_s <= 1.3 * 18 + limit * latency_s
    assert refusals <= 0.05 * 10 * limit


@given(
    st.integers(1, 40),
    st.sampled_from([0.5, 1.0, 2.0, 2.5, 7.3]),
    st.booleans(),
    st.floats(0.0001, 0.3),
)
def test_every_request_is_sent_in_the_end(
    limit: int, window_s: float, headers: bool, latency_s: float
) -> None:
    """Whatever the server's window is, the gate opens again, and few are refused."""
    _, refusals = pull(RateLimit(limit, window_s), 5 * limit, headers=headers, latency_s=latency_s)
    assert refusals <= 20 + limit
