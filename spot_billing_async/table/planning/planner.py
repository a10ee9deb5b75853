"""Planners: the slices that are still to be requested, and which of them come next. Pure.

While the server's limits are unknown, one account is requested first, then ever more at once: a
window that is too wide for one account mostly is for all, and each rejected window wastes a
request. After a rejection, single windows probe how wide a window may be, as long as a probe is
likely to save more requests than it costs.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import chain, islice
from math import ceil, inf
from typing import NamedTuple

from spot_billing_async.models.windows import DateWindow, WindowSize, cut
from spot_billing_async.table.ledger import SliceKey
from spot_billing_async.table.planning.due import merged_windows
from spot_billing_async.table.planning.window_sizing import WindowSizer

_DAY = timedelta(days=1)

_UNLIMITED = date.max.toordinal()
"""More days than the calendar has."""

_TRIALS_GROWTH = 4
"""Factor by which the number of trials (first windows of accounts without statistics) grows from
round to round."""

_MAX_ROUND = 1000
"""Slices per round: a plan of a million windows is not laid out at once."""

_MAX_PROBES = 20
"""Probes per sync: each is a round of its own, for which everything else waits."""

_MIN_SAVED = 1.0
"""Requests that a probe must be likely to save: it is as likely to fail, at a cost of one."""

_MIN_SAVED_FIRST = 4.0
"""The same after the first rejection: in four of five cases the limit holds for all accounts."""

_MIN_SAVED_REMEMBERED = 20.0
"""The same for a limit of an earlier sync: checking whether it changed may cost a twentieth."""


class Gap(NamedTuple):
    """Days of an account that are still to be requested.

    Attributes:
        account_id: the account.
        window: the days.
        max_days: maximum width of a window; half of the width that was rejected here.
    """

    account_id: str
    window: DateWindow
    max_days: int = _UNLIMITED

    @property
    def days(self) -> int:
        """Number of days."""
        return self.window.days


class Planner:
    """Slices that are still to be requested, in windows of a fixed size.

    Args:
        due: the days to request, by account.
        size: width of a window.

    Attributes:
        learns: whether the planner adapts the width of windows to failures.
    """

    learns = False

    def __init__(self, due: Mapping[str, Iterable[DateWindow]], size: WindowSize) -> None:
        self._due = {account_id: list(windows) for account_id, windows in due.items()}
        self._size = size
        self._pending = self._all()

    def _all(self) -> Iterator[SliceKey]:
        for account_id, windows in self._due.items():
            for due in windows:
                yield from (SliceKey(account_id, window) for window in cut(*due, self._size))

    @property
    def days(self) -> int:
        """Days to request from the start, summed over the accounts."""
        return sum(window.days for windows in self._due.values() for window in windows)

    @property
    def requests(self) -> int:
        """Estimated number of requests from the start."""
        return sum(1 for _ in self._all())

    def next_round(self) -> list[SliceKey]:
        """Remove and return the slices to request now; an empty list once none is left."""
        return list(islice(self._pending, _MAX_ROUND))

    def take_rest(self) -> Iterator[SliceKey]:
        """Remove and return every slice that is left."""
        return self._pending

    def on_fetched(self, key: SliceKey, rows_by_day: Iterable[int]) -> None:
        """Learn from a slice that was fetched."""

    def narrow(self, _key: SliceKey) -> bool:
        """Put a slice that was too wide back in narrower windows; return False if it cannot be."""
        return False

    def narrow_to_days(self, key: SliceKey) -> None:
        """Put a slice whose rows carry no date back, one window for each day."""
        days = (SliceKey(key.account_id, day) for day in cut(*key.window, "day"))
        self._pending = chain(days, self._pending)

    def on_failed(self, key: SliceKey, *, fails_account: bool) -> list[DateWindow]:  # noqa: ARG002  for subclasses
        """Return the windows that fail with a slice, removed from what is left.

        `fails_account` says that the error concerns every window of the account.
        """
        return [key.window]


class LearningPlanner(Planner):
    """Slices that are still to be requested, in windows as wide as the server accepts.

    Args:
        due: the days to request, by account.
        sizer: estimate of how wide a window may be.
    """

    learns = True

    def __init__(self, due: Mapping[str, Iterable[DateWindow]], sizer: WindowSizer) -> None:
        super().__init__(due, "whole")
        self._gaps = [
            Gap(account_id, window)
            for account_id, windows in self._due.items()
            for window in windows
        ]
        self._sizer = sizer
        self._max_trials = 1
        self._probes_left = _MAX_PROBES

    @property
    def requests(self) -> int:
        """Estimated number of requests for what is left."""
        return sum(self._sizer.split(gap.account_id, gap.days).windows for gap in self._gaps)

    def next_round(self) -> list[SliceKey]:
        """Remove and return the slices to request now; an empty list once none is left."""
        return (self._probes() or self._known_and_trials()) if self._gaps else []

    def take_rest(self) -> Iterator[SliceKey]:
        """Remove and return every slice that is left."""
        rest, self._gaps = self._gaps, []
        return (SliceKey(gap.account_id, gap.window) for gap in rest)

    def on_fetched(self, key: SliceKey, rows_by_day: Iterable[int]) -> None:
        """Learn from a slice that was fetched."""
        self._sizer.accept(key.account_id, rows_by_day)

    def narrow(self, key: SliceKey) -> bool:
        """Put a slice that was too wide back in halves; return False for a single day."""
        if key.window.days == 1:
            return False
        self._sizer.reject(key.account_id, key.window.days)
        self._gaps.insert(0, Gap(key.account_id, key.window, (key.window.days + 1) // 2))
        return True

    def narrow_to_days(self, key: SliceKey) -> None:
        """Put a slice whose rows carry no date back, one window for each day."""
        self._sizer.request_daily(key.account_id)
        self._gaps.insert(0, Gap(key.account_id, key.window))

    def on_failed(self, key: SliceKey, *, fails_account: bool) -> list[DateWindow]:
        """Return the windows that fail with a slice, removed from what is left.

        If the error concerns the whole account, and nothing of it was fetched, these are all of
        the account's windows.
        """
        if not fails_account or self._sizer.knows(key.account_id):
            return [key.window]
        self._sizer.forget_rejections(key.account_id)
        windows = [gap.window for gap in self._gaps if gap.account_id == key.account_id]
        self._gaps = [gap for gap in self._gaps if gap.account_id != key.account_id]
        return merged_windows([key.window, *windows])

    def _probes(self) -> list[SliceKey]:
        """Remove and return windows that probe the server's limit; none if it is known."""
        if not self._sizer.is_limited:
            return []
        halves = [
            gap
            for gap in self._gaps
            if gap.max_days < _UNLIMITED and not self._sizer.knows(gap.account_id)
        ]
        if self._sizer.only_rejections:
            gap = halves[0] if halves else self._gaps[0]
            return [self._take_first(gap, self._width(gap))]
        probe = self._wider_window() if self._probes_left else None
        if probe is None:
            return []
        self._probes_left -= 1
        if halves:  # before a probe: the number of rows of those that were rejected
            return [self._take_first(gap, self._width(gap)) for gap in halves]
        return [self._take_first(*probe)]

    def _wider_window(self) -> tuple[Gap, int] | None:
        """Return a gap, and more of its days than are known to be accepted, if worth a probe."""
        rejected_account = self._sizer.only_rejected_account
        if rejected_account is not None:
            others = [gap for gap in self._gaps if gap.account_id != rejected_account]
            saved = sum(self._sizer.split(gap.account_id, gap.days).requests - 1 for gap in others)
            if saved > _MIN_SAVED_FIRST:
                return self._widest({gap: gap.days for gap in others})
        saved = sum(
            self._sizer.split(gap.account_id, gap.days).requests
            - self._sizer.optimistic_split(gap.account_id, gap.days).requests
            for gap in self._gaps
        )
        if saved > (_MIN_SAVED_REMEMBERED if self._sizer.is_remembered else _MIN_SAVED):
            days = {gap: self._sizer.probe_days(gap.account_id) for gap in self._gaps}
            return self._widest({gap: min(n, gap.days) for gap, n in days.items()})
        return None

    def _widest(self, days: Mapping[Gap, int]) -> tuple[Gap, int] | None:
        """Return the widest of some probes, if it is wider than what is requested anyway."""
        if not days:
            return None
        # Accounts with statistics first: with them, a limit in rows follows from the outcome.
        gap = max(days, key=lambda gap: (self._sizer.knows(gap.account_id), days[gap]))
        return (gap, days[gap]) if days[gap] > self._width(gap) else None

    def _width(self, gap: Gap) -> int:
        """Return the number of days to request at once."""
        windows = self._sizer.split(gap.account_id, gap.days).windows
        return min(ceil(gap.days / windows), gap.max_days)

    def _known_and_trials(self) -> list[SliceKey]:
        """Remove and return all slices of accounts with statistics, and first ones of others."""
        keys: list[SliceKey] = []
        later: list[Gap] = []
        trials: set[str] = set()
        # Once the limit is known, a first window of an account is unlikely to be wasted.
        max_trials = inf if self._sizer.is_limited else self._max_trials
        for gap in self._gaps:
            if len(keys) >= _MAX_ROUND:
                later.append(gap)
                continue
            first, *others = cut_evenly(gap.window, self._width(gap))
            if self._sizer.knows(gap.account_id):
                keys += [SliceKey(gap.account_id, window) for window in (first, *others)]
            elif gap.account_id in trials or len(trials) >= max_trials:
                later.append(gap)
            else:
                trials.add(gap.account_id)
                keys.append(SliceKey(gap.account_id, first))
                if others:
                    # Kept as one gap: its width is chosen once the first window has an outcome.
                    rest = DateWindow(others[0].from_date, gap.window.to_date)
                    later.append(Gap(gap.account_id, rest))
        self._gaps = later
        self._max_trials = max(self._max_trials, _TRIALS_GROWTH * len(trials))
        return keys

    def _take_first(self, gap: Gap, days: int) -> SliceKey:
        """Remove and return the first days of a gap."""
        last = gap.window.from_date + (days - 1) * _DAY
        self._gaps.remove(gap)
        if last < gap.window.to_date:
            self._gaps.append(Gap(gap.account_id, DateWindow(last + _DAY, gap.window.to_date)))
        return SliceKey(gap.account_id, DateWindow(gap.window.from_date, last))


def cut_evenly(window: DateWindow, max_days: int) -> Iterator[DateWindow]:
    """Cut a window into the fewest parts of at most `max_days`, equally wide to within a day."""
    first = window.from_date
    for parts_left in range(ceil(window.days / max_days), 0, -1):
        last = first + (ceil(((window.to_date - first).days + 1) / parts_left) - 1) * _DAY
        yield DateWindow(first, last)
        if parts_left > 1:  # the day after the last part may be beyond the calendar
            first = last + _DAY
