"""Which days are asked for, and in which windows: pure decisions."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    DateWindow,
    DeadlineExceededError,
    DecodeError,
    InvalidRequestError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.errors import ApiError
from spot_billing_async.table.due import (
    Ask,
    TableWindow,
    by_day,
    due_windows,
    halved,
    may_be_too_wide,
    resumed,
    too_wide,
)

START = date(2023, 11, 20)


def day(n: int) -> date:
    return START + timedelta(days=n)


def days(windows: list[DateWindow]) -> list[date]:
    return [w.from_date + timedelta(days=n) for w in windows for n in range(w.days)]


spans = st.tuples(st.integers(0, 120), st.integers(0, 40)).map(
    lambda span: DateWindow(day(span[0]), day(span[0] + span[1]))
)
sizes: st.SearchStrategy[TableWindow] = st.sampled_from(
    ["auto", "day", "week", "month", "quarter", "whole", 1, 7]
)


@given(wanted=spans, settled=st.lists(spans), size=sizes, widest=st.none() | st.integers(1, 50))
def test_each_day_that_is_not_settled_is_asked_once(
    wanted: DateWindow, settled: list[DateWindow], size: TableWindow, widest: int | None
) -> None:
    """No settled day is asked again, and no other is left out, whatever the windows."""
    asked = days(due_windows(wanted, settled, size, widest))
    assert asked == sorted(set(days([wanted])) - set(days(settled)))


@given(wanted=spans, settled=st.lists(spans))
def test_auto_asks_as_little_as_can_be(wanted: DateWindow, settled: list[DateWindow]) -> None:
    """One window for each run of days: two that touch would be one request too many."""
    windows = due_windows(wanted, settled, "auto", None)
    for before, after in pairwise(windows):
        assert (after.from_date - before.to_date).days > 1


@given(wanted=spans, widest=st.integers(1, 50))
def test_auto_remembers_the_widest_window(wanted: DateWindow, widest: int) -> None:
    """No window is wider than what the server was found to bear."""
    assert all(w.days <= widest for w in due_windows(wanted, [], "auto", widest))


@given(window=spans)
def test_halving_ends_and_loses_no_day(window: DateWindow) -> None:
    """However often a window is halved, what is asked and what is kept back are all its days."""
    ask: Ask | None = Ask("a", window, None)
    while ask is not None:
        rest = [other.window for other in resumed(ask)]
        assert days([ask.window, *rest]) == days([window])
        assert all(other.days <= ask.window.days for other in rest)
        assert [other.window.days for other in by_day(ask)] == [1] * window.days
        last, ask = ask, halved(ask)
    assert last.window.days == 1


@pytest.mark.parametrize(
    ("error", "certain", "possible"),
    [
        (ResponseTooLargeError("x"), True, False),
        (DeadlineExceededError("x"), True, False),
        (ApiError(413), True, False),
        (ServerError(503), False, True),
        (InvalidRequestError(400), False, False),
        (TransportError("x"), False, False),
        (DecodeError("x"), False, False),
    ],
)
def test_what_a_failure_says_of_the_window(
    error: SpotBillingError, certain: bool, possible: bool
) -> None:
    """Too large, too slow and 413 mean the width; a 5xx may mean it; nothing else does."""
    assert (too_wide(error), may_be_too_wide(error)) == (certain, possible)


def test_a_quota_is_no_width() -> None:
    """A deadline that passed while the server refused for the rate is no reason to ask more."""
    error = DeadlineExceededError("x")
    error.met = ("RateLimitedError: 429", "DeadlineExceededError: x")
    assert not too_wide(error)
