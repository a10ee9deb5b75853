"""How many days a request may ask for: learned from what was borne, and from what was not. Pure.

Nobody says how much a server bears at once, nor in what it counts. Two suppositions are held
against what happens: that an answer may have so many rows, whosever they are (a limit of size, or
of time), and that a request may ask for so many days. Each is a bracket between the most that was
borne and the least that was not; one that contradicts itself is dropped. Where neither is left,
each account has a limit of its own.

A window that is too wide costs a request for nothing, and its two halves; one that is too narrow
costs a part of a request. How far to go is weighed by how much the account's days differ.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from math import ceil, erfc, inf, isfinite, sqrt
from typing import NamedTuple

_ROUGH = 1.5
"""Rows of a window that failed are an estimate; so much larger they may have been."""

_FAILURE_COSTS = 2.0
"""Requests more: the one that failed, and a second half."""


class Density(NamedTuple):
    """Rows a day of an account, as far as it was answered.

    Attributes:
        days: how many days were.
        rows: how many rows they have.
        squares: the sum of the squares of each day's rows.
    """

    days: int = 0
    rows: int = 0
    squares: int = 0

    @classmethod
    def of(cls, rows_by_day: Iterable[int]) -> "Density":
        """That of some days."""
        rows = list(rows_by_day)
        return cls(len(rows), sum(rows), sum(n * n for n in rows))

    def plus(self, other: "Density") -> "Density":
        """Both together."""
        return Density(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def mean(self) -> float:
        """Rows a day."""
        return self.rows / self.days if self.days else 0.0

    def rows_of(self, days: int) -> float:
        """How many rows so many days have, about; some, even where none were met so far."""
        return days * (self.rows + 1) / self.days

    def chance_of_more(self, rows: float, days: int) -> float:
        """How likely it is that so many days have more rows.

        Days differ, and their mean is known from a few of them alone. One day or two do not tell
        by how much they differ: then they are taken for counts, which differ by their square root.
        """
        variance = max(self.squares / self.days - self.mean**2, self.mean / self.days**2)
        deviation = sqrt(variance * (days + days**2 / self.days))
        over = self.mean * days - rows - 0.5  # rows are whole
        return erfc(-over / deviation / sqrt(2)) / 2 if deviation else float(over > 0)


class Limits(NamedTuple):
    """What the ledger remembers of the widths that were borne.

    Attributes:
        widest_days: days that a request about the account may ask for; None for any.
        borne_rows: rows that an answer had, whosever they were; None where all were borne.
    """

    widest_days: int | None = None
    borne_rows: int | None = None


class Bracket:
    """Between the most that was borne and the least that was refused, in some unit.

    Say, an account has ten rows a day, and the server bears 300 rows. Of 90 days it refuses all and
    45, and answers 22: then it has borne 220 rows and refused 450. The middle between them, by
    their ratio, is 315, so 31 days are tried, which it refuses; then 26, which it answers.

    Args:
        rough: by how much what was refused may be an underestimate.
        remembered: what was borne at another time, when more was refused; None for nothing.
    """

    def __init__(self, rough: float = 1.0, remembered: float | None = None) -> None:
        self.borne = remembered or 0.0
        self.refused = inf
        self._rough = rough
        self._remembered = remembered

    @property
    def is_known(self) -> bool:
        """Whether there is a limit, as far as is known."""
        return self._remembered is not None or isfinite(self.refused)

    @property
    def holds(self) -> bool:
        """Whether a limit in this unit explains what was met."""
        return self.is_known and self.borne < self.refused * self._rough

    @property
    def is_old(self) -> bool:
        """Whether it is as it was remembered: then more was tried before, and refused."""
        return self.borne == self._remembered

    @property
    def safe(self) -> float:
        """What is sure to be borne; half of what was refused while nothing was."""
        return self.borne or self.refused / 2

    @property
    def bold(self) -> float:
        """What may be borne or refused, and tells much either way."""
        if not self.borne:
            return self.safe
        if not isfinite(self.refused):
            return 2 * self.borne
        return max(self.borne, sqrt(self.borne * self.refused))

    @property
    def likely(self) -> float:
        """What is rather borne than not: nearer to what was borne than to what was refused."""
        return sqrt(self.safe * self.bold) if isfinite(self.refused) else self.safe

    def asks(self, size: float) -> bool:
        """Whether it is not known if so much is borne."""
        return self.holds and self.borne < size < self.refused

    def bear(self, size: float) -> None:
        """So much was answered."""
        self.borne = max(self.borne, size)

    def refuse(self, size: float) -> None:
        """So much was too much."""
        self.refused = min(self.refused, size)


class Split(NamedTuple):
    """How days are best asked.

    Attributes:
        windows: in how many.
        requests: how many that is likely to take.
    """

    windows: int
    requests: float


class WindowSizer:
    """What is known of the widths that may be asked for.

    Args:
        densities: what is remembered of each account's rows a day.
        limits: what is remembered with each account's latest answer; the latest first.
    """

    def __init__(
        self,
        densities: Mapping[str, Density] | None = None,
        limits: Mapping[str, Limits] | None = None,
    ) -> None:
        limits = limits or {}
        latest = next(iter(limits.values()), Limits())
        self._densities = dict(densities or {})
        self._all = reduce(Density.plus, self._densities.values(), Density())
        self._rows = Bracket(_ROUGH, latest.borne_rows or None)
        self._days = Bracket()
        self._own = {
            account_id: Bracket(remembered=mine.widest_days)
            for account_id, mine in limits.items()
            if mine.widest_days is not None
        }
        self._refused_days: dict[str, int] = {}
        self._by_day: set[str] = set()  # their rows do not say which day they are of

    def answered(self, account_id: str, rows_by_day: Iterable[int]) -> None:
        """A window was answered."""
        met = Density.of(rows_by_day)
        self._densities[account_id] = self._densities.get(account_id, Density()).plus(met)
        self._all = self._all.plus(met)
        self._rows.bear(met.rows)
        self._days.bear(met.days)
        self._bear(account_id, met.days)
        self._weigh_refused(account_id)

    def _bear(self, account_id: str, days: int) -> None:
        """An account's own limit is at least so many days; more than was remembered lifts all."""
        own = self._own.setdefault(account_id, Bracket())
        was_old = own.is_old
        own.bear(days)
        if was_old and not own.is_old:
            self._own = {name: each for name, each in self._own.items() if not each.is_old}

    def refused(self, account_id: str, days: int) -> None:
        """A window was too wide."""
        self._refused_days[account_id] = min(days, self._refused_days.get(account_id, days))
        self._days.refuse(days)
        self._own.setdefault(account_id, Bracket()).refuse(days)
        self._weigh_refused(account_id)

    def _weigh_refused(self, account_id: str) -> None:
        """Tell in rows what was refused in days, where both are known."""
        days = self._refused_days.get(account_id)
        if days is not None and self.knows(account_id):
            self._rows.refuse(self._densities[account_id].rows_of(days))

    def bears_nothing(self, account_id: str) -> None:
        """An account failed by the day as well: what failed there was not its width."""
        self._refused_days.pop(account_id, None)
        self._own.pop(account_id, None)
        if self.is_blind:
            self._days = Bracket()

    def carry_no_day(self, account_id: str) -> None:
        """The account's rows do not say which day they are of, so each day is asked alone.

        So it is with all that were asked so another time: one was enough to see that it still is.
        """
        self._by_day.add(account_id)
        self._by_day |= {name for name, own in self._own.items() if own.is_old and own.borne == 1}

    def knows(self, account_id: str) -> bool:
        """Whether it is known how many rows a day an account has."""
        return account_id in self._densities

    @property
    def is_limited(self) -> bool:
        """Whether anything was too wide so far."""
        return (
            self._rows.is_known
            or self._days.is_known
            or any(own.is_known for own in self._own.values())
        )

    @property
    def is_blind(self) -> bool:
        """Whether something was too wide in this run, and nothing was answered."""
        return self._days.is_known and not self._days.borne

    @property
    def is_old(self) -> bool:
        """Whether all that is known was remembered."""
        return self._rows.is_old or not (self._rows.is_known or self._days.is_known)

    @property
    def refused_account(self) -> str | None:
        """The account of which windows were too wide, where it is the only one."""
        return next(iter(self._refused_days)) if len(self._refused_days) == 1 else None

    def split(self, account_id: str, days: int) -> Split:
        """How so many days of an account are best asked."""
        limit = self._in_days(account_id)
        rows = self._rows.likely if self._rows.holds else inf
        return self._split(account_id, days, inf if limit is None else limit.safe, rows)

    def bold_split(self, account_id: str, days: int) -> Split:
        """How they might be asked, if the server bears more than is known."""
        if account_id in self._by_day:
            return Split(days, days)
        limit = self._in_days(account_id)
        splits = [] if limit is None else [self._split(account_id, days, limit.bold, inf)]
        if self._rows.holds:
            splits.append(self._split(account_id, days, inf, self._rows.bold))
        return min(splits, default=Split(1, 1))

    def trial_days(self, account_id: str) -> int:
        """The widest window that tells, however it ends, what more is borne; 0 where none does."""
        if account_id in self._by_day:
            return 0
        tried = [0]
        limit = self._in_days(account_id)
        if limit is not None and limit.asks(int(limit.bold)):
            tried.append(int(limit.bold))
        density = self._densities.get(account_id, self._all)
        if self._rows.holds and density.rows:
            days = int(self._rows.bold / density.mean)
            if days and self._rows.asks(density.rows_of(days)):
                tried.append(days)
        return max(tried)

    def _split(self, account_id: str, days: int, widest_days: float, most_rows: float) -> Split:
        """The split that is likely to take the fewest requests."""
        if account_id in self._by_day:
            return Split(days, days)
        known = self._densities.get(account_id)
        mean = (known or self._all).mean
        windows = max(1, ceil(days / max(1.0, widest_days)), ceil(days * mean / most_rows))
        if known is None or not isfinite(most_rows):
            return Split(min(windows, days), min(windows, days))
        best = Split(days, days)
        while windows < best.requests:
            chance = known.chance_of_more(most_rows, ceil(days / windows))
            requests = windows * (1 + _FAILURE_COSTS * chance)
            if requests < best.requests:
                best = Split(windows, requests)
            windows += 1
        return best

    def _in_days(self, account_id: str) -> Bracket | None:
        """The limit in days that is believed, of all or else of the account's own."""
        if self._days.holds:
            return self._days
        own = self._own.get(account_id)
        return own if own is not None and own.is_known and not self._rows.holds else None

    def limits(self, account_id: str) -> Limits:
        """What is to be remembered with an answer about an account."""
        if account_id in self._by_day:
            return Limits(1)
        if self._rows.holds and self._rows.borne:
            return Limits(None, int(self._rows.borne))
        limit = self._in_days(account_id)
        return Limits(None if limit is None else max(1, int(limit.safe)))
