"""Division of a range of days into windows."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.models.windows import CALENDAR_WINDOWS, DateWindow, WindowSize, cut

RANGES = st.tuples(st.dates(), st.integers(0, 2000)).map(
    lambda pair: (pair[0], pair[0] + timedelta(days=min(pair[1], (date.max - pair[0]).days)))
)
SIZES: st.SearchStrategy[WindowSize] = st.one_of(
    st.sampled_from(CALENDAR_WINDOWS), st.integers(1, 5000)
)


@given(RANGES, SIZES)
def test_windows_cover_the_range_exactly_once(days: tuple[date, date], size: WindowSize) -> None:
    """Every day of the range is in exactly one window, in order, without gap or overlap."""
    from_date, to_date = days
    windows = list(cut(from_date, to_date, size))
    assert windows[0].from_date == from_date
    assert windows[-1].to_date == to_date
    assert all(window.from_date <= window.to_date for window in windows)
    for earlier, later in pairwise(windows):
        assert later.from_date - earlier.to_date == timedelta(days=1)
    assert sum(window.days for window in windows) == (to_date - from_date).days + 1


@given(RANGES)
def test_inner_borders_are_calendar_borders(days: tuple[date, date]) -> None:
    """Every window after the first starts on a Monday, or the first day of a month or quarter."""
    starts = {
        size: [window.from_date for window in cut(*days, size)][1:]
        for size in ("week", "month", "quarter")
    }
    assert all(day.weekday() == 0 for day in starts["week"])
    assert all(day.day == 1 for day in starts["month"])
    assert all(day.day == 1 and day.month in {1, 4, 7, 10} for day in starts["quarter"])


@given(RANGES, st.integers(1, 400))
def test_windows_of_a_number_of_days_are_full_except_the_last(
    days: tuple[date, date], size: int
) -> None:
    """A number of days is counted from the range's first day; only the last window is shorter."""
    windows = list(cut(*days, size))
    assert all(window.days == size for window in windows[:-1])
    assert 1 <= windows[-1].days <= size


@pytest.mark.parametrize(
    ("size", "count"),
    [("day", 61), ("week", 9), ("month", 2), ("quarter", 1), ("whole", 1), (30, 3)],
)
def test_two_months_by_every_size(size: WindowSize, count: int) -> None:
    """October and November 2018 have 61 days, lie in 9 weeks and in one quarter."""
    assert len(list(cut(date(2018, 10, 1), date(2018, 11, 30), size))) == count


def test_the_end_of_the_calendar_does_not_overflow() -> None:
    """The last day that a date can hold is a window like any other."""
    last = date.max
    for size in (*CALENDAR_WINDOWS, 7):
        assert list(cut(last, last, size)) == [DateWindow(last, last)]
