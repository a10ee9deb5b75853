"""This client's requests in the server's window, and bounds of its length."""

from math import inf

from spot_billing_async._core.pacing.window import (
    DOCUMENTED_WINDOW_S,
    Permit,
    ServerWindow,
    WindowLength,
)


def accepted(window: ServerWindow, sent_s: float, ended_s: float) -> Permit:
    """Return the permit of an accepted request."""
    permit = window.start(sent_s)
    window.end(permit, ended_s, is_accepted=True)
    return permit


def test_the_documented_length_holds_until_a_shorter_bound() -> None:
    """A longer bound adds nothing, and a bound close to the estimate confirms it."""
    length = WindowLength()
    length.at_most(90.0)
    assert (length.value_s, length.is_known) == (DOCUMENTED_WINDOW_S, False)
    length.at_most(60.3)
    assert (length.value_s, length.is_known) == (60.0, True)


def test_the_estimate_is_the_whole_second_below_the_bound() -> None:
    """A lower bound may exclude the whole second, until an upper bound contradicts it."""
    length = WindowLength()
    length.at_most(2.4)
    assert length.value_s == 2.0
    length.at_least(2.2)
    assert length.value_s == 2.4
    length.at_least(3.0)
    assert length.value_s == 2.4
    length.at_most(2.1)
    assert length.value_s == 2.0
    length.at_most(0.4)
    assert length.value_s == 0.4


def test_a_place_is_free_one_window_after_the_response() -> None:
    """The server may count a request at any time until its response."""
    window = ServerWindow()
    window.length.at_most(2.0)
    slow = window.start(0.0)
    accepted(window, 0.0, 1.0)
    assert (window.occupied(2.9), window.next_free_s) == (2, 3.0)
    assert (window.occupied(3.0), window.next_free_s) == (1, inf)
    window.end(slow, 4.0)
    assert (window.occupied(5.9), window.occupied(6.0)) == (1, 0)


def test_certain_likely_and_possible_expiries_are_counted_apart() -> None:
    """An expiry before the latest response may already be included in its count."""
    window = ServerWindow()
    window.length.at_most(10.0)
    accepted(window, 0.0, 1.0)
    accepted(window, 5.0, 5.5)
    accepted(window, 0.4, 1.2)
    window.observed_s = 10.6
    window.occupied(20.0)
    assert (window.surely_expired, window.likely_expired, window.possibly_expired) == (1, 2, 3)


def test_the_oldest_request_beyond_a_count_has_expired() -> None:
    """The bound uses the request sent first, even if responses overtook each other."""
    window = ServerWindow()
    accepted(window, 1.0, 5.0)
    accepted(window, 0.0, 6.0)
    accepted(window, 7.0, 7.5)
    window.bound_length(40.0, before=3, count=2)
    assert window.length.longest_s == 40.0
    window.bound_length(45.0, before=3, count=3)
    assert window.length.longest_s == 40.0
    window.bound_length(9.0, before=3, count=4)
    assert window.length.longest_s == 40.0, "fewer requests were accepted"


def test_the_history_is_bounded() -> None:
    """The latest accepted requests are kept, with their positions in the count."""
    window = ServerWindow()
    window.history_size = 10
    for number in range(1000):
        accepted(window, float(number), number + 0.5)
    assert len(window.last_accepted(10, before=1000)) == 10
    assert window.last_accepted(21, before=1000) == []
    assert [permit.sent_s for permit in window.last_accepted(1, before=999)] == [998.0]
