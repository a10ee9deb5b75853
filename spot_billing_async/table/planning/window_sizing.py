"""Estimate of how many days one request may cover, from accepted and rejected windows. Pure.

The server documents neither its limit nor the unit of it. Two hypotheses are checked against the
outcomes: a maximum number of rows per response for all accounts (a limit of size, or of time), and
a maximum number of days per request. Each is an interval from the largest accepted size to the
smallest rejected one; one that contradicts itself is dropped. If neither holds, each account has a
limit of its own.

A window that is too wide costs a wasted request and two halves; one that is too narrow costs a
fraction of a request. The estimate weighs these by how much the days of an account differ.
"""

from collections.abc import Iterable, Mapping
from functools import reduce
from math import ceil, erfc, inf, isfinite, sqrt
from typing import NamedTuple

_ROWS_TOLERANCE = 1.5
"""Factor by which the rows of a rejected window, which are estimated, may be underestimated."""

_REJECTION_COST = 2.0
"""Additional requests after a rejection: the rejected one, and a second half."""


class RowStats(NamedTuple):
    """Statistics of an account's rows per day, over its fetched days.

    Attributes:
        days: number of days.
        rows: number of rows.
        squares: sum of the squares of the rows of each day.
    """

    days: int = 0
    rows: int = 0
    squares: int = 0

    @classmethod
    def of(cls, rows_by_day: Iterable[int]) -> "RowStats":
        """Return the statistics of some days."""
        rows = list(rows_by_day)
        return cls(len(rows), sum(rows), sum(n * n for n in rows))

    def plus(self, other: "RowStats") -> "RowStats":
        """Return the statistics of the days of both."""
        return RowStats(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def mean(self) -> float:
        """Rows per day."""
        return self.rows / self.days if self.days else 0.0

    def estimated_rows(self, days: int) -> float:
        """Return the estimated number of rows of some days, above 0 even if none had any."""
        return days * (self.rows + 1) / self.days

    def chance_of_more(self, rows: float, days: int) -> float:
        """Return the probability that some days have more than this number of rows.

        The spread between days, and the error of a mean of few days, both count. One or two days
        do not show the spread, so it is at least that of a count: the square root of the mean.
        """
        variance = max(self.squares / self.days - self.mean**2, self.mean / self.days**2)
        deviation = sqrt(variance * (days + days**2 / self.days))
        # The sum over the days is taken to be normally distributed.
        excess = self.mean * days - rows - 0.5  # rows are whole numbers
        return erfc(-excess / deviation / sqrt(2)) / 2 if deviation else float(excess > 0)


class RememberedLimits(NamedTuple):
    """Limits that the ledger stores with an entry; the fields are its columns.

    Attributes:
        widest_days: largest accepted window of the account, in days; None for no known limit.
        borne_rows: largest accepted response of any account, in rows; None for no known limit.
    """

    widest_days: int | None = None
    borne_rows: int | None = None


class LimitEstimate:
    """Interval from the largest accepted size to the smallest rejected one, in some unit.

    For example, an account has ten rows a day, and the server accepts 300 rows. It rejects 90 days
    and 45, and accepts 22: so it accepts 220 rows and rejects 450. Their geometric mean is 315, so
    31 days are tried, which it rejects; then 26, which it accepts.

    Args:
        tolerance: factor by which rejected sizes may be underestimated.
        remembered: largest size accepted by an earlier sync that had a rejection; None for none.
    """

    def __init__(self, tolerance: float = 1.0, remembered: float | None = None) -> None:
        self.accepted: float = remembered or 0.0
        self.rejected: float = inf
        self._tolerance = tolerance
        self._remembered = remembered

    @property
    def is_known(self) -> bool:
        """True if a size was rejected, in this sync or an earlier one."""
        return self._remembered is not None or isfinite(self.rejected)

    @property
    def holds(self) -> bool:
        """True if a limit in this unit explains all outcomes."""
        return self.is_known and self.accepted < self.rejected * self._tolerance

    @property
    def is_remembered(self) -> bool:
        """True if this sync accepted nothing larger than the remembered size."""
        return self.accepted == self._remembered

    @property
    def safe(self) -> float:
        """Size that was accepted; half of the rejected size if none was."""
        return self.accepted or self.rejected / 2

    @property
    def optimistic(self) -> float:
        """Size that is as likely accepted as rejected: its outcome is the most informative."""
        if not self.accepted:
            return self.safe
        if not isfinite(self.rejected):
            return 2 * self.accepted
        return max(self.accepted, sqrt(self.accepted * self.rejected))

    @property
    def likely(self) -> float:
        """Size that is probably accepted: nearer to the accepted size than to the rejected."""
        return sqrt(self.safe * self.optimistic) if isfinite(self.rejected) else self.safe

    def is_uncertain(self, size: float) -> bool:
        """Return whether it is unknown if a size is accepted."""
        return self.holds and self.accepted < size < self.rejected

    def accept(self, size: float) -> None:
        """Record an accepted size."""
        self.accepted = max(self.accepted, size)

    def reject(self, size: float) -> None:
        """Record a rejected size."""
        self.rejected = min(self.rejected, size)


class Split(NamedTuple):
    """Division of some days into windows of equal width.

    Attributes:
        windows: number of windows.
        requests: expected number of requests, those after rejections included.
    """

    windows: int
    requests: float


class WindowSizer:
    """Estimate of the window width that the server accepts, for each account.

    Args:
        stats: remembered statistics of the rows per day, by account.
        limits: limits remembered with the latest entry of each account, the latest first.
    """

    def __init__(
        self,
        stats: Mapping[str, RowStats] | None = None,
        limits: Mapping[str, RememberedLimits] | None = None,
    ) -> None:
        limits = limits or {}
        latest = next(iter(limits.values()), RememberedLimits())
        self._stats = dict(stats or {})
        self._all = reduce(RowStats.plus, self._stats.values(), RowStats())
        self._row_limit = LimitEstimate(_ROWS_TOLERANCE, latest.borne_rows or None)
        self._day_limit = LimitEstimate()
        self._own_limits = {
            account_id: LimitEstimate(remembered=each.widest_days)
            for account_id, each in limits.items()
            if each.widest_days is not None
        }
        self._rejected_days: dict[str, int] = {}
        self._daily: set[str] = set()  # accounts whose rows carry no date

    def accept(self, account_id: str, rows_by_day: Iterable[int]) -> None:
        """Record an accepted window."""
        fetched = RowStats.of(rows_by_day)
        self._stats[account_id] = self._stats.get(account_id, RowStats()).plus(fetched)
        self._all = self._all.plus(fetched)
        self._row_limit.accept(fetched.rows)
        self._day_limit.accept(fetched.days)
        own = self._own_limits.setdefault(account_id, LimitEstimate())
        was_remembered = own.is_remembered
        own.accept(fetched.days)
        if was_remembered and not own.is_remembered:
            # One account accepts more than an earlier sync found, so all may.
            self._own_limits = {
                name: each for name, each in self._own_limits.items() if not each.is_remembered
            }
        # An earlier rejection of this account can now be expressed in rows.
        self._reject_rows(account_id)

    def reject(self, account_id: str, days: int) -> None:
        """Record a window that was too wide."""
        self._rejected_days[account_id] = min(days, self._rejected_days.get(account_id, days))
        self._day_limit.reject(days)
        self._own_limits.setdefault(account_id, LimitEstimate()).reject(days)
        self._reject_rows(account_id)

    def _reject_rows(self, account_id: str) -> None:
        """Record a rejected number of days as one of rows, once the account has statistics."""
        days = self._rejected_days.get(account_id)
        if days is not None and self.knows(account_id):
            self._row_limit.reject(self._stats[account_id].estimated_rows(days))

    def forget_rejections(self, account_id: str) -> None:
        """Forget the rejections of an account whose single days fail too: not for their width."""
        self._rejected_days.pop(account_id, None)
        self._own_limits.pop(account_id, None)
        if self.only_rejections:
            self._day_limit = LimitEstimate()

    def request_daily(self, account_id: str) -> None:
        """Request an account day by day from now on, as its rows carry no date.

        The same then holds for all accounts that earlier syncs requested day by day: they need no
        wide request of their own to find out.
        """
        self._daily.add(account_id)
        self._daily |= {
            name
            for name, limit in self._own_limits.items()
            if limit.is_remembered and limit.accepted == 1
        }

    def knows(self, account_id: str) -> bool:
        """Return whether an account has statistics of its rows per day."""
        return account_id in self._stats

    @property
    def is_limited(self) -> bool:
        """True if any window was rejected, in this sync or an earlier one."""
        return (
            self._row_limit.is_known
            or self._day_limit.is_known
            or any(limit.is_known for limit in self._own_limits.values())
        )

    @property
    def only_rejections(self) -> bool:
        """True if this sync had rejections and no accepted window."""
        return self._day_limit.is_known and not self._day_limit.accepted

    @property
    def is_remembered(self) -> bool:
        """True if all known limits are those of earlier syncs."""
        return self._row_limit.is_remembered or not (
            self._row_limit.is_known or self._day_limit.is_known
        )

    @property
    def only_rejected_account(self) -> str | None:
        """The account with rejections, if it is the only one."""
        return next(iter(self._rejected_days)) if len(self._rejected_days) == 1 else None

    def split(self, account_id: str, days: int) -> Split:
        """Return the split of some days of an account that is likely to be accepted."""
        limit = self._limit_in_days(account_id)
        rows = self._row_limit.likely if self._row_limit.holds else inf
        return self._split(account_id, days, inf if limit is None else limit.safe, rows)

    def optimistic_split(self, account_id: str, days: int) -> Split:
        """Return the split that would do if the server accepts more than is known."""
        if account_id in self._daily:
            return Split(days, days)
        limit = self._limit_in_days(account_id)
        splits = [] if limit is None else [self._split(account_id, days, limit.optimistic, inf)]
        if self._row_limit.holds:
            splits.append(self._split(account_id, days, inf, self._row_limit.optimistic))
        return min(splits, default=Split(1, 1))

    def probe_days(self, account_id: str) -> int:
        """Return the widest window whose outcome, either way, narrows a limit; 0 for none."""
        if account_id in self._daily:
            return 0
        candidates = [0]
        limit = self._limit_in_days(account_id)
        if limit is not None and limit.is_uncertain(int(limit.optimistic)):
            candidates.append(int(limit.optimistic))
        stats = self._stats.get(account_id, self._all)
        if self._row_limit.holds and stats.rows:
            days = int(self._row_limit.optimistic / stats.mean)
            if days and self._row_limit.is_uncertain(stats.estimated_rows(days)):
                candidates.append(days)
        return max(candidates)

    def _split(self, account_id: str, days: int, max_days: float, max_rows: float) -> Split:
        """Return the split with the fewest expected requests, within these limits."""
        if account_id in self._daily:
            return Split(days, days)
        known = self._stats.get(account_id)
        mean = (known or self._all).mean
        windows = max(1, ceil(days / max(1.0, max_days)), ceil(days * mean / max_rows))
        # Without statistics or a limit in rows, the chance of a rejection is unknown: no search.
        if known is None or not isfinite(max_rows):
            return Split(min(windows, days), min(windows, days))
        best = Split(days, days)
        while windows < best.requests:
            chance = known.chance_of_more(max_rows, ceil(days / windows))
            requests = windows * (1 + _REJECTION_COST * chance)
            if requests < best.requests:
                best = Split(windows, requests)
            windows += 1
        return best

    def _limit_in_days(self, account_id: str) -> LimitEstimate | None:
        """Return the limit in days: the common one if it holds, else the account's own."""
        if self._day_limit.holds:
            return self._day_limit
        own = self._own_limits.get(account_id)
        return own if own is not None and own.is_known and not self._row_limit.holds else None

    def limits_to_remember(self, account_id: str) -> RememberedLimits:
        """Return the limits to store with an entry of an account."""
        if account_id in self._daily:
            return RememberedLimits(widest_days=1)
        if self._row_limit.holds and self._row_limit.accepted:
            return RememberedLimits(borne_rows=int(self._row_limit.accepted))
        limit = self._limit_in_days(account_id)
        return RememberedLimits(None if limit is None else max(1, int(limit.safe)))
