"""Our own requests in the server's window, and what they show of its length."""

from math import inf

from spot_billing_async._core.pacing.window import (
    DOCUMENTED_WINDOW_S,
    Permit,
    ServerWindow,
    WindowLength,
)


def passed(mirror: ServerWindow, sent_s: float, ended_s: float) -> Permit:
    """A request that passed."""
    permit = mirror.start(sent_s)
    mirror.end(permit, ended_s)
    mirror.let_pass(permit)
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
    mirror = ServerWindow()
    mirror.length.at_most(2.0)
    slow = mirror.start(0.0)
    passed(mirror, 0.0, 1.0)
    assert (mirror.places(2.9), mirror.next_free_s) == (2, 3.0)
    assert (mirror.places(3.0), mirror.next_free_s) == (1, inf)
    mirror.end(slow, 4.0)
    assert (mirror.places(5.9), mirror.places(6.0)) == (1, 0)


def test_what_was_never_sent_takes_no_place() -> None:
    """It is as if it had not been."""
    mirror = ServerWindow()
    mirror.start(0.0)
    mirror.take_back()
    assert (mirror.places(0.0), mirror.under_way) == (0, 0)


def test_who_surely_left_after_the_last_answer_is_told_apart() -> None:
    """One that may have left before it is in that answer's count already, or it is not."""
    mirror = ServerWindow()
    mirror.length.at_most(10.0)
    passed(mirror, 0.0, 1.0)
    passed(mirror, 5.0, 5.5)
    passed(mirror, 0.4, 1.2)
    mirror.hear(10.6)
    mirror.places(20.0)
    assert (mirror.left, mirror.left_likely, mirror.left_perhaps) == (1, 2, 3)


def test_of_so_many_places_the_request_before_is_out() -> None:
    """Of requests whose answers overtook each other, the one that was sent first counts."""
    mirror = ServerWindow()
    passed(mirror, 1.0, 5.0)
    passed(mirror, 0.0, 6.0)
    passed(mirror, 7.0, 7.5)
    mirror.bound_length(40.0, before=3, count=2)
    assert mirror.length.longest_s == 40.0
    mirror.bound_length(45.0, before=3, count=3)
    assert mirror.length.longest_s == 40.0
    mirror.bound_length(9.0, before=3, count=4)
    assert mirror.length.longest_s == 40.0, "there are not as many"


def test_what_is_remembered_is_bounded() -> None:
    """The latest are kept, and keep their places in the count."""
    mirror = ServerWindow()
    mirror.most_kept = 10
    for number in range(1000):
        passed(mirror, float(number), number + 0.5)
    assert len(mirror.last_passed(10, before=1000)) == 10
    assert mirror.last_passed(21, before=1000) == []
    assert [t.sent_s for t in mirror.last_passed(1, before=999)] == [998.0]
