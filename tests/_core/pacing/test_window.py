"""Our own requests in the server's window, and what they show of its length."""

from math import inf

from spot_billing_async._core.pacing.window import (
    DOCUMENTED_WINDOW_S,
    Permit,
    ServerWindow,
    WindowLength,
)


def accepted(window: ServerWindow, sent_s: float, ended_s: float) -> Permit:
    """A request that passed."""
    permit = window.start(sent_s)
    window.end(permit, ended_s, is_accepted=True)
    return permit


def test_a_window_is_as_documented_until_it_is_shown_to_be_shorter() -> None:
    """A longer bound tells nothing, but a bound close to what is thought makes it known."""
    length = WindowLength()
    length.at_most(90.0)
    assert (length.value_s, length.is_known) == (DOCUMENTED_WINDOW_S, False)
    length.at_most(60.3)
    assert (length.value_s, length.is_known) == (60.0, True)


def test_the_whole_second_below_the_bound_is_taken() -> None:
    """Unless a refusal has shown it to be too short; that is forgotten where a bound denies it."""
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


def test_a_place_is_free_a_window_after_its_answer() -> None:
    """Not after it was sent: the server may have counted it as late as that."""
    window = ServerWindow()
    window.length.at_most(2.0)
    slow = window.start(0.0)
    accepted(window, 0.0, 1.0)
    assert (window.occupied(2.9), window.next_free_s) == (2, 3.0)
    assert (window.occupied(3.0), window.next_free_s) == (1, inf)
    window.end(slow, 4.0)
    assert (window.occupied(5.9), window.occupied(6.0)) == (1, 0)


def test_what_was_never_sent_takes_no_place() -> None:
    """It is as if it had not been."""
    window = ServerWindow()
    window.start(0.0)
    window.discard()
    assert (window.occupied(0.0), window.in_flight) == (0, 0)


def test_who_surely_left_after_the_last_answer_is_told_apart() -> None:
    """One that may have left before it is in that answer's count already, or it is not."""
    window = ServerWindow()
    window.length.at_most(10.0)
    accepted(window, 0.0, 1.0)
    accepted(window, 5.0, 5.5)
    accepted(window, 0.4, 1.2)
    window.observed_s = 10.6
    window.occupied(20.0)
    assert (window.surely_expired, window.likely_expired, window.possibly_expired) == (1, 2, 3)


def test_of_so_many_places_the_request_before_is_out() -> None:
    """Of requests whose answers overtook each other, the one that was sent first counts."""
    window = ServerWindow()
    accepted(window, 1.0, 5.0)
    accepted(window, 0.0, 6.0)
    accepted(window, 7.0, 7.5)
    window.bound_length(40.0, before=3, count=2)
    assert window.length.longest_s == 40.0
    window.bound_length(45.0, before=3, count=3)
    assert window.length.longest_s == 40.0
    window.bound_length(9.0, before=3, count=4)
    assert window.length.longest_s == 40.0, "there are not as many"


def test_what_is_remembered_is_bounded() -> None:
    """The latest are kept, and keep their places in the count."""
    window = ServerWindow()
    window.history_size = 10
    for number in range(1000):
        accepted(window, float(number), number + 0.5)
    assert len(window.last_accepted(10, before=1000)) == 10
    assert window.last_accepted(21, before=1000) == []
    assert [t.sent_s for t in window.last_accepted(1, before=999)] == [998.0]
