"""Cache keys of days, and days as windows."""

from datetime import date, timedelta
from itertools import pairwise
from typing import get_args

from hypothesis import assume, given
from hypothesis import strategies as st

from spot_billing_async import DateWindow, GroupBy
from spot_billing_async.cache.query import SeriesKey, contiguous_windows

days = st.dates(date(2020, 1, 1), date(2030, 12, 31))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
series = st.builds(
    SeriesKey, texts, texts, texts, st.none() | st.sampled_from(get_args(GroupBy)), texts
)


@given(st.lists(days, unique=True, max_size=40))
def test_contiguous_windows_are_the_fewest(some: list[date]) -> None:
    """Each day is in one window, no other day is, and no two windows touch."""
    windows = contiguous_windows(sorted(some))
    in_windows = [each.from_date + timedelta(days=n) for each in windows for n in range(each.days)]
    assert in_windows == sorted(some)
    for earlier, later in pairwise(windows):
        assert later.from_date - earlier.to_date > timedelta(days=1)


@given(series, series, days, st.integers(0, 40))
def test_series_share_no_key(one: SeriesKey, other: SeriesKey, first: date, more: int) -> None:
    """Two series never share a key, even if parts are empty or contain separators."""
    assume(one != other)
    window = DateWindow(first, first + timedelta(days=more))
    assert not one.keys(window).keys() & other.keys(window).keys()


@given(series, days, st.integers(0, 40))
def test_a_key_identifies_one_day(one: SeriesKey, first: date, more: int) -> None:
    """There is one key per day, in order, and it is the same in each window with that day."""
    window = DateWindow(first, first + timedelta(days=more))
    keys = one.keys(window)
    assert list(keys.values()) == [first + timedelta(days=n) for n in range(more + 1)]
    assert one.keys(DateWindow(first, first)).items() <= keys.items()


def test_keys_are_the_same_in_every_version() -> None:
    """A key is found again by another process, and after an update of the package."""
    day = date(2024, 1, 1)
    (key,) = SeriesKey("n", "http://a", "act-1", "service", "type").keys(DateWindow(day, day))
    assert key == "spot-billing:1:4606e6128f4115e73ae10b610f2fc016:2024-01-01"


@given(texts.filter(lambda text: len(text) > 3))
def test_a_key_reveals_no_part_of_the_series(part: str) -> None:
    """Account, namespace and origin cannot be read from a key."""
    day = date(2024, 1, 1)
    assume(part not in "spot-billing:" and not set(part) <= set("0123456789abcdef-:{}"))
    (key,) = SeriesKey(part, part, part, None, part).keys(DateWindow(day, day))
    assert part not in key
