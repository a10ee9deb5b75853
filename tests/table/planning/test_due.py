"""Days that are due, and failures that mean a window is too wide: pure decisions."""

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
from spot_billing_async.errors import ON_KEPT_CONNECTION, ApiError
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
def test_each_unsettled_day_is_due_once(wanted: DateWindow, settled: list[DateWindow]) -> None:
    """No settled day is requested again, and no other day is left out."""
    due = days(list(due_windows(wanted, settled)))
    assert due == sorted(set(days([wanted])) - set(days(settled)))


@given(wanted=spans, settled=st.lists(spans))
def test_due_windows_are_as_wide_as_possible(wanted: DateWindow, settled: list[DateWindow]) -> None:
    """Each run of days is one window: two adjacent ones would cost an additional request."""
    for before, after in pairwise(due_windows(wanted, settled)):
        assert (after.from_date - before.to_date).days > 1


@given(windows=st.lists(spans))
def test_adjacent_windows_are_merged(windows: list[DateWindow]) -> None:
    """The merged windows have the same days, each once, and none is adjacent to another."""
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
def test_failures_that_mean_a_window_is_too_wide(
    error: SpotBillingError, certain: bool, possible: bool
) -> None:
    """A too large response and 413 mean it; a 5xx and a missed deadline may; others do not."""
    assert (is_too_wide(error), may_be_too_wide(error)) == (certain, possible)


def test_waiting_for_the_quota_does_not_narrow_a_window() -> None:
    """A deadline that was missed because of 429 responses says nothing of the width."""
    error = DeadlineExceededError("x")
    error.attempt_errors = ("RateLimitedError: 429", "DeadlineExceededError: x")
    assert not may_be_too_wide(error)


def test_a_connection_that_may_be_dead_does_not_narrow_a_window() -> None:
    """A deadline that was missed on a kept connection says nothing of the width."""
    error = DeadlineExceededError("x")
    error.attempt_errors = ("TransportError: x", f"DeadlineExceededError: x{ON_KEPT_CONNECTION}")
    assert not may_be_too_wide(error)
