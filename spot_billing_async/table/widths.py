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

_GROWTH = 1.25
"""How many times what was refused another time may be borne by now."""

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
        over = self.mean * days - rows
        return erfc(-over / deviation / sqrt(2)) / 2 if deviation else float(over > 0)


class Limits(NamedTuple):
    """What the ledger remembers of the widths that were borne.

    Attributes:
        widest_days: days that a request about the account may ask for; None for any.
        borne_rows: rows that an answer had, whosever they were; None where all were borne.
        refused_rows: rows that were about too many; None where that is not known.
    """

    widest_days: int | None = None
    borne_rows: int | None = None
    refused_rows: int | None = None


class Bracket:
    """Between the most that was borne and the least that was refused, in some unit.

    Args:
        rough: by how much what was refused may be an underestimate.
        remembered: what was borne at another time, when more was refused; None for nothing.
        refused: what was refused then; infinite where that is not known.
    """

    def __init__(
        self, rough: float = 1.0, remembered: float | None = None, refused: float = inf
    ) -> None:
        self.borne = remembered or 0.0
        self.refused = refused * _GROWTH
        self._was_refused = refused
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
        return max(self.borne, self._between(self.refused))

    @property
    def likely(self) -> float:
        """What is rather borne than not: nearer to what was borne than to what was refused."""
        if not self.borne or not isfinite(self.refused):
            return self.safe
        return max(self.borne, sqrt(self.borne * self._between(self._was_refused)))

    def asks(self, size: float) -> bool:
        """Whether it is not known if so much is borne."""
        return self.holds and self.borne < size < self.refused

    def _between(self, refused: float) -> float:
        return sqrt(self.borne * refused) if isfinite(refused) else 2 * self.borne

    def bear(self, size: float) -> None:
        """So much was answered."""
        self.borne = max(self.borne, size)

    def refuse(self, size: float) -> None:
        """So much was too much."""
        self.refused = min(self.refused, size)
        self._was_refused = min(self._was_refused, size)


class Split(NamedTuple):
    """How days are best asked.

    Attributes:
        windows: in how many.
        requests: how many that is likely to take.
    """

    windows: int
    requests: float


class Widths:
    """What is known of the widths that may be asked for.

    Attributes:
        is_by_day: each day is asked alone, as rows do not say which day they are of.

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
        self._rows = Bracket(_ROUGH, latest.borne_rows, latest.refused_rows or inf)
        self._days = Bracket()
        self._own = {
            account_id: Bracket(remembered=mine.widest_days)
            for account_id, mine in limits.items()
            if mine.widest_days is not None
        }
        self._refused_days: dict[str, int] = {}
        self.is_by_day = False

    def answered(self, account_id: str, rows_by_day: Iterable[int]) -> None:
        """A window was answered."""
        met = Density.of(rows_by_day)
        self._densities[account_id] = self._densities.get(account_id, Density()).plus(met)
        self._all = self._all.plus(met)
        self._rows.bear(met.rows)
        self._days.bear(met.days)
        self._own.setdefault(account_id, Bracket()).bear(met.days)
        self._weigh_refused(account_id)

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

    def carry_no_day(self) -> None:
        """Rows do not say which day they are of, so each day is asked alone."""
        self.is_by_day = True

    def knows(self, account_id: str) -> bool:
        """Whether it is known how many rows a day an account has."""
        return account_id in self._densities

    @property
    def is_limited(self) -> bool:
        """Whether anything was too wide so far."""
        return self.is_by_day or self._rows.is_known or self._days.is_known

    @property
    def is_blind(self) -> bool:
        """Whether something was too wide in this run, and nothing was answered."""
        return self._days.is_known and not self._days.borne

    @property
    def is_old(self) -> bool:
        """Whether all is as it was remembered."""
        return self._rows.is_old

    @property
    def refused_account(self) -> str | None:
        """The account of which windows were too wide, where it is the only one."""
        return next(iter(self._refused_days)) if len(self._refused_days) == 1 else None

    def split(self, account_id: str, days: int) -> Split:
        """How so many days of an account are best asked."""
        widest = min((size.safe for size in self._in_days(account_id)), default=inf)
        return self._split(
            account_id, days, widest, self._rows.likely if self._counts_rows else inf
        )

    def bold_split(self, account_id: str, days: int) -> Split:
        """How they might be asked, if the server bears more than is known."""
        widest = max((size.bold for size in self._in_days(account_id)), default=inf)
        by_days = self._split(account_id, days, widest, inf)
        if not self._counts_rows:
            return by_days
        by_rows = self._split(account_id, days, inf, self._rows.bold)
        return by_rows if not isfinite(widest) else min(by_days, by_rows)

    def trial_days(self, account_id: str) -> int:
        """The widest window that tells, however it ends, what more is borne; 0 where none does."""
        density = self._densities.get(account_id, self._all)
        tried = [int(size.bold) for size in self._in_days(account_id) if size.asks(int(size.bold))]
        if self._counts_rows and density.rows:
            days = int(self._rows.bold / density.mean)
            if days and self._rows.asks(density.rows_of(days)):
                tried.append(days)
        return max(tried, default=0)

    def _split(self, account_id: str, days: int, widest_days: float, most_rows: float) -> Split:
        """The split that is likely to take the fewest requests."""
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

    @property
    def _counts_rows(self) -> bool:
        """Whether it is believed that there is a limit in rows."""
        return self._rows.holds and not self.is_by_day

    def _in_days(self, account_id: str) -> list[Bracket]:
        """The limits in days that are believed."""
        if self.is_by_day:
            return [Bracket(remembered=1)]
        if self._days.holds:
            return [self._days]
        own = self._own.get(account_id)
        return [own] if own is not None and own.is_known and not self._rows.holds else []

    def limits(self, account_id: str) -> Limits:
        """What is to be remembered with an answer about an account."""
        if self.is_by_day:
            return Limits(1)
        if self._rows.holds:
            refused = int(self._rows.refused) if isfinite(self._rows.refused) else None
            return Limits(None, int(self._rows.safe), refused)
        own = self._days if self._days.holds else self._own.get(account_id)
        return Limits(int(own.safe) if own is not None and own.is_known else None)
