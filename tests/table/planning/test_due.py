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
from spot_billing_async.table.planning.due import due_windows, merged_windows
from spot_billing_async.table.planning.runner import is_too_wide, may_be_too_wide

START = date(2023, 11, 20)


def day(n: int) -> date:
    return START + timedelta(days=n)


def days(windows: list[DateWindow]) -> list[date]:
    return [w.from_date + timedelta(days=n) for w in windows for n in range(w.days)]


spans = st.tuples(st.integers(0, 120), st.integers(0, 40)).map(
    lambda span: DateWindow(day(span[0]), day(span[0] + span[1]))
)


@given(wanted=spans, settled=st.lists(spans))
def test_each_day_that_is_not_settled_is_due_once(
    wanted: DateWindow, settled: list[DateWindow]
) -> None:
    """No settled day is asked again, and no other is left out."""
    due = days(list(due_windows(wanted, settled)))
    assert due == sorted(set(days([wanted])) - set(days(settled)))


@given(wanted=spans, settled=st.lists(spans))
def test_what_is_due_is_as_wide_as_can_be(wanted: DateWindow, settled: list[DateWindow]) -> None:
    """One window for each run of days: two that touch would be one request too many."""
    for before, after in pairwise(due_windows(wanted, settled)):
        assert (after.from_date - before.to_date).days > 1


@given(windows=st.lists(spans))
def test_windows_that_touch_are_joined(windows: list[DateWindow]) -> None:
    """The same days, each once, in windows that do not touch."""
    assert days(merged_windows(windows)) == sorted(set(days(windows)))
    for before, after in pairwise(merged_windows(windows)):
        assert (after.from_date - before.to_date).days > 1


@pytest.mark.parametrize(
    ("error", "certain", "possible"),
    [
        (ResponseTooLargeError("x"), True, False),
        (DeadlineExceededError("x"), False, True),
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
    assert (is_too_wide(error), may_be_too_wide(error)) == (certain, possible)


def test_a_quota_is_no_width() -> None:
    """A deadline that passed while the server refused for the rate is no reason to ask more."""
    error = DeadlineExceededError("x")
    error.attempt_errors = ("RateLimitedError: 429", "DeadlineExceededError: x")
    assert not may_be_too_wide(error)
