"""The limit on requests under way, against servers of the test's making."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.concurrency import ConcurrencyLimit
from spot_billing_async.pacing import FIRST_REQUESTS


def settle(capacity: int, most: int, rounds: int = 40) -> list[int]:
    """The limits of rounds that a server of a capacity answers, each full from start to end."""
    limit = ConcurrencyLimit(most)
    met = []
    for _ in range(rounds):
        met.append(limit.limit)
        for _ in range(limit.limit):
            limit.start()
        for place in range(limit.limit):
            # The first round meets an empty server, later ones the queue of those before.
            ahead = place + 1 if len(met) == 1 else met[-1]
            limit.end()
            limit.answered(0.05 * max(1.0, ahead / capacity))
            limit.start()
        for _ in range(limit.under_way):
            limit.end()
    return met


@pytest.mark.parametrize("capacity", [4, 32, 128])
def test_the_limit_settles_above_the_capacity(capacity: int) -> None:
    """So that the server never runs dry, and not so far that it would refuse."""
    met = settle(capacity, 512)
    assert min(met[8:]) >= 0.9 * capacity
    assert max(met) <= max(4 * capacity, FIRST_REQUESTS)


def test_the_limit_never_passes_what_is_allowed() -> None:
    """`max_concurrency` is the most, also at the start."""
    assert max(settle(1000, 24)) == 24
    assert ConcurrencyLimit(3).limit == 3


def test_an_overload_halves_the_limit_once_a_round() -> None:
    """Refusals of one wave count once; one is the least."""
    limit = ConcurrencyLimit(64)
    for _ in range(5):
        limit.overloaded()
    assert limit.limit == FIRST_REQUESTS // 2


def test_who_is_not_pressed_does_not_grow() -> None:
    """A limit that was never reached says nothing about what lies beyond."""
    limit = ConcurrencyLimit(64)
    for _ in range(100):
        limit.start()
        limit.end()
        limit.answered(0.01)
    assert limit.limit == FIRST_REQUESTS


@given(st.integers(1, 300), st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=500))
def test_the_limit_stays_in_its_bounds(most: int, answers: list[tuple[float, bool]]) -> None:
    """Whatever is measured."""
    limit = ConcurrencyLimit(most)
    for elapsed_s, is_overload in answers:
        while limit.has_room(told=False):
            limit.start()
        limit.end()
        if is_overload:
            limit.overloaded()
        else:
            limit.answered(elapsed_s)
        assert 1 <= limit.limit <= most
