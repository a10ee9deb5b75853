"""What is still to be asked, and which of it next: as wide as is known to be borne. Pure.

Where nothing is known of a server, one account is asked first and then ever more at once: what is
too wide for one is mostly too wide for all, and each window that fails is a request for nothing.
Once something was too wide, single windows try how wide they may be, as long as that is likely to
save more requests than it costs.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import chain, islice
from math import ceil, inf
from typing import NamedTuple

from spot_billing_async.models import CostQuery, GroupBy
from spot_billing_async.models.windows import DateWindow, WindowSize, cut
from spot_billing_async.table.planning.due import joined
from spot_billing_async.table.planning.window_sizing import WindowSizer

_DAY = timedelta(days=1)


_ANY = date.max.toordinal()
"""More days than there are."""


_SCOUTS_GROWTH = 4
"""How many times as many unknown accounts are asked as in the round before."""


_MOST_ASKS = 1000
"""In a round: a plan of a million windows is not laid out at once."""


_TRIALS = 20
"""At most, as one has to wait for each."""


_ODDS = 1.0
"""A try is as likely to fail, for one request, as to save some."""


_ODDS_OF_ONE = 4.0
"""An account that is refused is one of many in four cases of five, and one of its own in one."""


_ODDS_OF_OLD = 20.0
"""What is remembered was tried before: a twentieth of the requests may find out that it changed."""


class Ask(NamedTuple):
    """A window of an account that is asked."""

    account_id: str
    window: DateWindow


class Gap(NamedTuple):
    """Days of an account that are still to be asked.

    Attributes:
        account_id: the account.
        window: the days.
        widest_days: half of what was too wide here.
    """

    account_id: str
    window: DateWindow
    widest_days: int = _ANY

    @property
    def days(self) -> int:
        """How many days there are."""
        return self.window.days


class Planner:
    """What is still to be asked, in windows of a size.

    Args:
        due: the days of each account.
        size: how wide a window is.

    Attributes:
        learns: it is of use to tell it what was too wide.
    """

    learns = False

    def __init__(self, due: Mapping[str, Iterable[DateWindow]], size: WindowSize) -> None:
        self._due = {account: list(mine) for account, mine in due.items()}
        self._size = size
        self._asks = self._all()

    def _all(self) -> Iterator[Ask]:
        for account_id, mine in self._due.items():
            for gap in mine:
                yield from (Ask(account_id, window) for window in cut(*gap, self._size))

    @property
    def days(self) -> int:
        """Days to be asked from the beginning, counted for each account."""
        return sum(gap.days for mine in self._due.values() for gap in mine)

    @property
    def requests(self) -> int:
        """How many requests it takes from the beginning, by what is known now."""
        return sum(1 for _ in self._all())

    def next_round(self) -> list[Ask]:
        """Take out what is to be asked now; empty once nothing is left."""
        return list(islice(self._asks, _MOST_ASKS))

    def left(self) -> Iterator[Ask]:
        """Take out all that was not asked."""
        return self._asks

    def answered(self, ask: Ask, rows_by_day: Iterable[int]) -> None:
        """A window was answered."""

    def too_wide(self, _ask: Ask) -> bool:
        """Whether a window that failed for its size is asked again, narrower."""
        return False

    def carry_no_day(self, ask: Ask) -> None:
        """Ask for a window again, day by day: its rows do not say which day they are of."""
        days = (Ask(ask.account_id, day) for day in cut(*ask.window, "day"))
        self._asks = chain(days, self._asks)

    def failed(self, ask: Ask, *, is_account: bool) -> list[DateWindow]:  # noqa: ARG002  for others
        """Take out what fails with a window; `is_account` says that all of the account does."""
        return [ask.window]


class LearningPlanner(Planner):
    """What is still to be asked, in windows as wide as the server bears.

    Args:
        due: the days of each account.
        widths: how wide a request may be.
    """

    learns = True

    def __init__(self, due: Mapping[str, Iterable[DateWindow]], widths: WindowSizer) -> None:
        super().__init__(due, "whole")
        self._gaps = [
            Gap(account, window) for account, mine in self._due.items() for window in mine
        ]
        self._widths = widths
        self._scouts = 1
        self._trials_left = _TRIALS

    @property
    def requests(self) -> int:
        """How many requests it takes, by what is known now."""
        return sum(self._widths.split(gap.account_id, gap.days).windows for gap in self._gaps)

    def next_round(self) -> list[Ask]:
        """Take out what is to be asked now; empty once nothing is left."""
        return (self._trials() or self._known_and_scouts()) if self._gaps else []

    def left(self) -> Iterator[Ask]:
        """Take out all that was not asked."""
        left, self._gaps = self._gaps, []
        return (Ask(gap.account_id, gap.window) for gap in left)

    def answered(self, ask: Ask, rows_by_day: Iterable[int]) -> None:
        """A window was answered."""
        self._widths.answered(ask.account_id, rows_by_day)

    def too_wide(self, ask: Ask) -> bool:
        """Put a window that failed for its size back, to be asked in halves, if it has any."""
        if ask.window.days == 1:
            return False
        self._widths.refused(ask.account_id, ask.window.days)
        self._gaps.insert(0, Gap(ask.account_id, ask.window, (ask.window.days + 1) // 2))
        return True

    def carry_no_day(self, ask: Ask) -> None:
        """Ask for a window again, day by day: its rows do not say which day they are of."""
        self._widths.carry_no_day(ask.account_id)
        self._gaps.insert(0, Gap(ask.account_id, ask.window))

    def failed(self, ask: Ask, *, is_account: bool) -> list[DateWindow]:
        """Take out what fails with a window: all of an account that nothing was answered of."""
        if not is_account or self._widths.knows(ask.account_id):
            return [ask.window]
        self._widths.bears_nothing(ask.account_id)
        mine = [gap.window for gap in self._gaps if gap.account_id == ask.account_id]
        self._gaps = [gap for gap in self._gaps if gap.account_id != ask.account_id]
        return joined([ask.window, *mine])

    def _trials(self) -> list[Ask]:
        """Windows that are asked to learn how wide they may be; none where that is known."""
        if not self._widths.is_limited:
            return []
        halves = [
            gap
            for gap in self._gaps
            if gap.widest_days < _ANY and not self._widths.knows(gap.account_id)
        ]
        if self._widths.is_blind:
            gap = halves[0] if halves else self._gaps[0]
            return [self._first(gap, self._width(gap))]
        trial = self._bolder() if self._trials_left else None
        if trial is None:
            return []
        self._trials_left -= 1
        if halves:  # first: how many rows those have that were too wide
            return [self._first(gap, self._width(gap)) for gap in halves]
        return [self._first(*trial)]

    def _bolder(self) -> tuple[Gap, int] | None:
        """A window wider than what is known to be borne, where it is worth a try."""
        alone = self._widths.refused_account
        if alone is not None:
            others = [gap for gap in self._gaps if gap.account_id != alone]
            saved = sum(self._widths.split(gap.account_id, gap.days).requests - 1 for gap in others)
            if saved > _ODDS_OF_ONE:
                return self._boldest({gap: gap.days for gap in others})
        saved = sum(
            self._widths.split(gap.account_id, gap.days).requests
            - self._widths.bold_split(gap.account_id, gap.days).requests
            for gap in self._gaps
        )
        if saved > (_ODDS_OF_OLD if self._widths.is_old else _ODDS):
            days = {gap: self._widths.trial_days(gap.account_id) for gap in self._gaps}
            return self._boldest({gap: min(n, gap.days) for gap, n in days.items()})
        return None

    def _boldest(self, days: Mapping[Gap, int]) -> tuple[Gap, int] | None:
        """The widest of some windows, where it is wider than what is asked anyway."""
        if not days:
            return None
        gap = max(days, key=lambda gap: (self._widths.knows(gap.account_id), days[gap]))
        return (gap, days[gap]) if days[gap] > self._width(gap) else None

    def _width(self, gap: Gap) -> int:
        """How many days of a gap are asked at once."""
        windows = self._widths.split(gap.account_id, gap.days).windows
        return min(ceil(gap.days / windows), gap.widest_days)

    def _known_and_scouts(self) -> list[Ask]:
        """All of the accounts whose rows a day are known, and a first window of others."""
        asks: list[Ask] = []
        later: list[Gap] = []
        scouts: set[str] = set()
        most = inf if self._widths.is_limited else self._scouts
        for gap in self._gaps:
            if len(asks) >= _MOST_ASKS:
                later.append(gap)
                continue
            first, *others = evenly(gap.window, self._width(gap))
            if self._widths.knows(gap.account_id):
                asks += [Ask(gap.account_id, window) for window in (first, *others)]
            elif gap.account_id in scouts or len(scouts) >= most:
                later.append(gap)
            else:
                scouts.add(gap.account_id)
                asks.append(Ask(gap.account_id, first))
                if others:
                    rest = DateWindow(others[0].from_date, gap.window.to_date)
                    later.append(Gap(gap.account_id, rest))
        self._gaps = later
        self._scouts = max(self._scouts, _SCOUTS_GROWTH * len(scouts))
        return asks

    def _first(self, gap: Gap, days: int) -> Ask:
        """Take out the first days of a gap."""
        last = gap.window.from_date + (days - 1) * _DAY
        self._gaps.remove(gap)
        if last < gap.window.to_date:
            self._gaps.append(Gap(gap.account_id, DateWindow(last + _DAY, gap.window.to_date)))
        return Ask(gap.account_id, DateWindow(gap.window.from_date, last))


def evenly(window: DateWindow, widest_days: int) -> Iterator[DateWindow]:
    """Cut a window into as few as have at most so many days, none more than a day wider."""
    count = ceil(window.days / widest_days)
    first = window.from_date
    for left in range(count, 0, -1):
        last = first + (ceil(((window.to_date - first).days + 1) / left) - 1) * _DAY
        yield DateWindow(first, last)
        if left > 1:
            first = last + _DAY


def query_of(account_id: str, window: DateWindow, group_by: GroupBy | None) -> CostQuery:
    """What asks for a window of an account."""
    return CostQuery(
        account_id=account_id,
        from_date=window.from_date,
        to_date=window.to_date,
        group_by=group_by,
    )
