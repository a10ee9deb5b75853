"""How wide windows are asked: pure decisions, against servers that bear only so much at once."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from math import ceil, inf
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.planner import LearningPlanner, evenly
from spot_billing_async.table.planning.window_sizing import Density, WindowSizer

FIRST = date(2024, 1, 1)

Rows = Mapping[str, list[int]]
Bears = Callable[[str, int, int], bool]


class Asked(NamedTuple):
    """What was asked, and what came of it."""

    windows: Counter[int]
    refused: int
    rounds: int
    widths: WindowSizer

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.windows.total()


def asked(rows: Rows, bears: Bears, widths: WindowSizer | None = None) -> Asked:
    """Ask for all of it; each day is answered once, or fails for being too much by itself."""
    learned = WindowSizer() if widths is None else widths
    due = {account: [window_of(0, len(days))] for account, days in rows.items()}
    agenda = LearningPlanner(due, learned)
    met: Counter[tuple[str, int]] = Counter()
    windows: Counter[int] = Counter()
    refused = rounds = 0
    while asks := agenda.next_round():
        rounds += 1
        for ask in asks:
            windows[ask.window.days] += 1
            start = (ask.window.from_date - FIRST).days
            found = rows[ask.account_id][start : start + ask.window.days]
            if bears(ask.account_id, len(found), sum(found)):
                agenda.answered(ask, found)
                done = [ask.window]
            else:
                refused += 1
                done = [] if agenda.too_wide(ask) else agenda.failed(ask, is_account=True)
            for window in done:
                first = (window.from_date - FIRST).days
                met.update((ask.account_id, day) for day in range(first, first + window.days))
    assert met == Counter(
        (account, day) for account, days in rows.items() for day in range(len(days))
    )
    return Asked(windows, refused, rounds, learned)


def window_of(start: int, days: int) -> DateWindow:
    first = FIRST + timedelta(days=start)
    return DateWindow(first, first + timedelta(days=days - 1))


def at_most(rows: float = inf, days: float = inf) -> Bears:
    return lambda _, asked_days, found: found <= rows and asked_days <= days


def fewest(rows: Rows, most: float) -> int:
    """How many windows it takes whoever knows all the rows beforehand."""
    count = 0
    for days in rows.values():
        filled = inf
        for found in days:
            filled += found
            if filled > most:
                count, filled = count + 1, found
    return count


accounts = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.integers(0, 60), min_size=1, max_size=120), min_size=1
)


@given(rows=accounts, most=st.integers(1, 4000), widest=st.integers(1, 130))
def test_every_day_is_asked_whatever_the_server_bears(rows: Rows, most: int, widest: int) -> None:
    """Each day is answered once, or has failed by itself; and it ends."""
    asked(rows, at_most(most, widest))


@given(rows=accounts, refused=st.sets(st.sampled_from("abcdefgh")), widest=st.integers(0, 40))
def test_accounts_that_bear_less_than_others(rows: Rows, refused: set[str], widest: int) -> None:
    """One that bears nothing fails whole, and no other with it."""
    found = asked(rows, lambda account, days, _: account not in refused or days <= widest)
    if not refused & rows.keys():
        assert found.requests == len(rows)


@pytest.mark.parametrize("count", [1, 7, 60])
def test_without_a_limit_each_account_is_one_request(count: int) -> None:
    """The widest window first; and no account waits for long."""
    found = asked({f"a{n}": [9] * 90 for n in range(count)}, at_most())
    assert found.windows == {90: count}
    assert found.rounds <= 4


@pytest.mark.parametrize("most", [100, 300, 1000, 3000])
def test_a_limit_in_rows_is_found_by_few(most: int) -> None:
    """Sixty accounts alike take little more than it takes who knows the limit beforehand."""
    rows = {f"a{n}": [7] * 90 for n in range(60)}
    found = asked(rows, at_most(rows=most))
    assert found.requests <= 1.2 * fewest(rows, most)
    assert found.rounds <= 30


@pytest.mark.parametrize("widest", [1, 7, 14, 60])
def test_a_limit_in_days_is_told_from_one_in_rows(widest: int) -> None:
    """Accounts of which one has ten times the rows of another are asked for as many days."""
    rows = {f"a{n}": [2 + 18 * (n % 2)] * 90 for n in range(60)}
    found = asked(rows, at_most(days=widest))
    assert found.requests <= 1.2 * 60 * ceil(90 / widest)


def test_an_account_of_its_own_does_not_narrow_the_others() -> None:
    """One of ten bears little: another is tried before it is believed of all."""
    rows = {f"a{n}": [5] * 90 for n in range(10)}
    found = asked(rows, lambda account, days, _: account != "a0" or days <= 30)
    assert found.windows[90] == 1 + 9
    assert found.requests <= 9 + 3 + 4


@pytest.mark.parametrize("most", [100, 300, 1000])
def test_what_was_learned_is_used(most: int) -> None:
    """The next run knows the limit, and how many rows a day each account has."""
    rows = {f"a{n}": [3 + n % 5] * 90 for n in range(60)}
    first = asked(rows, at_most(rows=most))
    densities = {account: Density.of(days) for account, days in rows.items()}
    limits = {account: first.widths.limits(account) for account in rows}
    again = asked(rows, at_most(rows=most), WindowSizer(densities, limits))
    assert again.requests <= 1.1 * fewest(rows, most)


@pytest.mark.parametrize(("before", "now"), [(100, 400), (100, 10_000), (20, 10_000)])
def test_a_server_that_bears_more_by_now_is_found_out(before: int, now: int) -> None:
    """What is remembered is tried again, by one window of many."""
    rows = {f"a{n}": [10] * 90 for n in range(60)}
    widths = asked(rows, at_most(rows=before)).widths
    densities = {account: Density.of(days) for account, days in rows.items()}
    limits = {account: widths.limits(account) for account in rows}
    found = asked(rows, at_most(rows=now), WindowSizer(densities, limits))
    assert found.requests <= 1.2 * fewest(rows, now) + 5


@given(days=st.integers(1, 800), widest=st.integers(1, 800))
def test_windows_are_cut_evenly(days: int, widest: int) -> None:
    """As few as can be, of which none is more than a day wider than another."""
    widths = [window.days for window in evenly(window_of(0, days), widest)]
    assert len(widths) == ceil(days / widest)
    assert sum(widths) == days
    assert max(widths) <= min(widths) + 1
