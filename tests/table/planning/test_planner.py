"""Width of the requested windows: pure decisions, against servers with a limit per request."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from math import ceil, inf
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.planner import LearningPlanner, cut_evenly
from spot_billing_async.table.planning.window_sizing import RowStats, WindowSizer

FIRST = date(2024, 1, 1)

Rows = Mapping[str, list[int]]
Accepts = Callable[[str, int, int], bool]
"""Decides on a request by its account, number of days and number of rows."""


class Simulation(NamedTuple):
    """Requests of a simulated sync: their number by width, those rejected, and the rounds."""

    windows: Counter[int]
    rejected: int
    rounds: int
    sizer: WindowSizer

    @property
    def requests(self) -> int:
        """Number of requests."""
        return self.windows.total()


def simulate(rows: Rows, accepts: Accepts, sizer: WindowSizer | None = None) -> Simulation:
    """Request all days; check that each is fetched once, or fails because it is too large."""
    sizer = WindowSizer() if sizer is None else sizer
    due = {account: [window_of(0, len(days))] for account, days in rows.items()}
    planner = LearningPlanner(due, sizer)
    settled: Counter[tuple[str, int]] = Counter()
    windows: Counter[int] = Counter()
    rejected = rounds = 0
    while keys := planner.next_round():
        rounds += 1
        for key in keys:
            windows[key.window.days] += 1
            start = (key.window.from_date - FIRST).days
            fetched = rows[key.account_id][start : start + key.window.days]
            if accepts(key.account_id, len(fetched), sum(fetched)):
                planner.on_fetched(key, fetched)
                done = [key.window]
            else:
                rejected += 1
                done = [] if planner.narrow(key) else planner.on_failed(key, fails_account=True)
            for window in done:
                first = (window.from_date - FIRST).days
                settled.update((key.account_id, day) for day in range(first, first + window.days))
    assert settled == Counter(
        (account, day) for account, days in rows.items() for day in range(len(days))
    )
    return Simulation(windows, rejected, rounds, sizer)


def window_of(start: int, days: int) -> DateWindow:
    first = FIRST + timedelta(days=start)
    return DateWindow(first, first + timedelta(days=days - 1))


def at_most(rows: float = inf, days: float = inf) -> Accepts:
    return lambda _, requested_days, requested_rows: (
        requested_rows <= rows and requested_days <= days
    )


def fewest(rows: Rows, most: float) -> int:
    """Return the number of windows that suffice if the rows of each day are known beforehand."""
    count = 0
    for days in rows.values():
        filled = inf
        for day_rows in days:
            filled += day_rows
            if filled > most:
                count, filled = count + 1, day_rows
    return count


accounts = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.integers(0, 60), min_size=1, max_size=120), min_size=1
)


@given(rows=accounts, most=st.integers(1, 4000), widest=st.integers(1, 130))
def test_every_day_is_requested_at_any_limit(rows: Rows, most: int, widest: int) -> None:
    """Each day is fetched once or fails alone, and the planner ends."""
    simulate(rows, at_most(most, widest))


@given(rows=accounts, limited=st.sets(st.sampled_from("abcdefgh")), widest=st.integers(0, 40))
def test_accounts_with_a_lower_limit(rows: Rows, limited: set[str], widest: int) -> None:
    """An account of which nothing is accepted fails as a whole, and no other with it."""
    found = simulate(rows, lambda account, days, _: account not in limited or days <= widest)
    if not limited & rows.keys():
        assert found.requests == len(rows)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_without_a_limit_each_account_is_one_request(count: int) -> None:
    """The widest window is requested first, and no account waits for many rounds."""
    found = simulate({f"a{n}": [9] * 90 for n in range(count)}, at_most())
    assert found.windows == {90: count}
    assert found.rounds <= 4


@pytest.mark.parametrize("most", [100, 300, 1000, 3000])
def test_a_limit_in_rows_is_found_by_few_requests(most: int) -> None:
    """Sixty equal accounts take few requests more than if the limit were known beforehand."""
    rows = {f"a{n}": [7] * 90 for n in range(60)}
    found = simulate(rows, at_most(rows=most))
    assert found.requests <= 1.2 * fewest(rows, most)
    assert found.rounds <= 30


@pytest.mark.parametrize("widest", [1, 7, 14, 60])
def test_a_limit_in_days_is_distinguished_from_one_in_rows(widest: int) -> None:
    """An account with ten times the rows of another is requested in equally wide windows."""
    rows = {f"a{n}": [2 + 18 * (n % 2)] * 90 for n in range(60)}
    found = simulate(rows, at_most(days=widest))
    assert found.requests <= 1.2 * 60 * ceil(90 / widest)


def test_a_limit_of_one_account_does_not_narrow_the_others() -> None:
    """After one account of ten is rejected, another is probed before all are narrowed."""
    rows = {f"a{n}": [5] * 90 for n in range(10)}
    found = simulate(rows, lambda account, days, _: account != "a0" or days <= 30)
    assert found.windows[90] == 1 + 9
    assert found.requests <= 9 + 3 + 4


@pytest.mark.parametrize("most", [100, 300, 1000])
def test_remembered_limits_are_used(most: int) -> None:
    """The next sync knows the limit, and the rows per day of each account."""
    rows = {f"a{n}": [3 + n % 5] * 90 for n in range(60)}
    first = simulate(rows, at_most(rows=most))
    stats = {account: RowStats.of(days) for account, days in rows.items()}
    limits = {account: first.sizer.limits_to_remember(account) for account in rows}
    again = simulate(rows, at_most(rows=most), WindowSizer(stats, limits))
    assert again.requests <= 1.1 * fewest(rows, most)


@pytest.mark.parametrize(("before", "now"), [(100, 400), (100, 10_000), (20, 10_000)])
def test_a_raised_limit_is_found(before: int, now: int) -> None:
    """One window of many probes a remembered limit again."""
    rows = {f"a{n}": [10] * 90 for n in range(60)}
    sizer = simulate(rows, at_most(rows=before)).sizer
    stats = {account: RowStats.of(days) for account, days in rows.items()}
    limits = {account: sizer.limits_to_remember(account) for account in rows}
    found = simulate(rows, at_most(rows=now), WindowSizer(stats, limits))
    assert found.requests <= 1.2 * fewest(rows, now) + 5


@given(days=st.integers(1, 800), widest=st.integers(1, 800))
def test_windows_are_cut_evenly(days: int, widest: int) -> None:
    """The parts are as few as possible, and their widths differ by at most a day."""
    widths = [window.days for window in cut_evenly(window_of(0, days), widest)]
    assert len(widths) == ceil(days / widest)
    assert sum(widths) == days
    assert max(widths) <= min(widths) + 1
