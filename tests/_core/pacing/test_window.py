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


def test_the_documented_length_holds_while_it_is_possible() -> None:
    """Bounds around the estimate confirm it; others replace it."""
    length = WindowLength()
    length.between(0.0, 90.0, 0.0)
    assert (length.value_s, length.is_known) == (DOCUMENTED_WINDOW_S, True)
    length.between(80.0, 91.5, 0.0)
    assert length.value_s == 92.0


def test_the_estimate_is_the_whole_second_between_the_bounds() -> None:
    """A lower bound may exclude the whole second; it is believed for a while."""
    length = WindowLength()
    length.between(1.4, 2.4, 0.0)
    assert length.value_s == 2.0
    length.at_least(2.2, 0.0)
    assert 2.2 < length.value_s < 2.4
    length.between(1.0, 2.1, 1.0)
    assert length.value_s > 2.2
    length.between(1.0, 2.1, 1000.0)
    assert length.value_s == 2.0
    length.between(0.0, 0.4, 1000.0)
    assert length.value_s == 0.4


def test_a_shorter_length_is_tried_until_the_bounds_are_close() -> None:
    """The trial lies between the bounds; an unknown or precise length is not tried."""
    length = WindowLength()
    assert length.trial_s == length.value_s
    length.between(0.0, 10.0, 0.0)
    assert length.trial_s == 5.0
    length.at_least(9.8, 0.0)
    assert length.trial_s == length.value_s


def test_a_place_is_free_one_window_after_the_response() -> None:
    """The server may count a request at any time until its response."""
    window = ServerWindow()
    window.length.between(0.0, 2.0, 0.0)
    slow = window.start(0.0)
    accepted(window, 0.0, 1.0)
    assert (window.occupied(2.9), window.next_free_s) == (2, 3.0)
    assert (window.occupied(3.0), window.next_free_s) == (1, inf)
    window.end(slow, 4.0)
    assert (window.occupied(5.9), window.occupied(6.0)) == (1, 0)


def test_certain_likely_and_possible_expiries_are_counted_apart() -> None:
    """An expiry before the latest response may already be included in its count."""
    window = ServerWindow()
    window.length.between(0.0, 10.0, 0.0)
    accepted(window, 0.0, 1.0)
    accepted(window, 5.0, 5.5)
    accepted(window, 0.4, 1.2)
    window.observed_s = 10.6
    window.occupied(20.0)
    assert (window.surely_expired, window.likely_expired, window.possibly_expired) == (1, 2, 3)


def test_the_history_is_bounded() -> None:
    """The latest accepted requests are kept, with their positions in the count."""
    window = ServerWindow()
    window.history_size = 10
    for number in range(1000):
        accepted(window, float(number), number + 0.5)
    oldest = window.last_accepted(10, before=1000)
    assert oldest is not None
    assert oldest.sent_s == 990.0
    assert window.last_accepted(21, before=1000) is None
    newest = window.last_accepted(1, before=999)
    assert newest is not None
    assert newest.sent_s == 998.0
