"""Keys of days, and days as windows."""

from datetime import date, timedelta
from itertools import pairwise
from typing import get_args

from hypothesis import assume, given
from hypothesis import strategies as st

from spot_billing_async import DateWindow, GroupBy
from spot_billing_async.cache.query import Series, runs_of

days = st.dates(date(2020, 1, 1), date(2030, 12, 31))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
series = st.builds(
    Series, texts, texts, texts, st.none() | st.sampled_from(get_args(GroupBy)), texts
)


@given(st.lists(days, unique=True, max_size=40))
def test_runs_are_the_days_and_as_few_as_can_be(some: list[date]) -> None:
    """Each day is in one run, no other day is, and no two runs touch."""
    runs = runs_of(sorted(some))
    in_runs = [run.from_date + timedelta(days=n) for run in runs for n in range(run.days)]
    assert in_runs == sorted(some)
    for run, later in pairwise(runs):
        assert later.from_date - run.to_date > timedelta(days=1)


@given(series, series, days, st.integers(0, 40))
def test_series_share_no_key(one: Series, other: Series, first: date, more: int) -> None:
    """Whatever their parts hold: separators, each other's parts, nothing."""
    assume(one != other)
    window = DateWindow(first, first + timedelta(days=more))
    assert not one.keys(window).keys() & other.keys(window).keys()


@given(series, days, st.integers(0, 40))
def test_a_key_is_of_one_day(one: Series, first: date, more: int) -> None:
    """As many keys as days, in order, the same for each window that has the day."""
    window = DateWindow(first, first + timedelta(days=more))
    keys = one.keys(window)
    assert list(keys.values()) == [first + timedelta(days=n) for n in range(more + 1)]
    assert one.keys(DateWindow(first, first)).items() <= keys.items()


@given(texts.filter(lambda text: len(text) > 3))
def test_a_key_shows_nothing_of_what_it_is_made_of(part: str) -> None:
    """Neither account nor space can be read from it."""
    day = date(2024, 1, 1)
    assume(part not in "spot-billing:" and not set(part) <= set("0123456789abcdef-:{}"))
    (key,) = Series(part, part, part, None, part).keys(DateWindow(day, day))
    assert part not in key
