"""Ledger records: the slices of a table, and what is known of each. Pure."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from spot_billing_async.models import CostQuery, GroupBy
from spot_billing_async.models.windows import DateWindow

UNKNOWN_DIGEST = ""
"""Digest of a slice whose rows in the table are unknown; no content has this digest."""


class SliceKey(NamedTuple):
    """One account and one window: the unit that is requested, compared and replaced."""

    account_id: str
    window: DateWindow

    def query(self, group_by: GroupBy | None) -> CostQuery:
        """Return the query for this slice."""
        return CostQuery(
            account_id=self.account_id,
            from_date=self.window.from_date,
            to_date=self.window.to_date,
            group_by=group_by,
        )


def windows_by_account(
    keys: Iterable[SliceKey], accounts: Iterable[str]
) -> dict[str, list[DateWindow]]:
    """Group windows by account, for these accounts only, in the order of the keys.

    An account without a key has an empty list.
    """
    windows: dict[str, list[DateWindow]] = {account_id: [] for account_id in accounts}
    for key in keys:
        if key.account_id in windows:
            windows[key.account_id].append(key.window)
    return windows


class Coverage(NamedTuple):
    """Extent of the data that the ledger has of a breakdown.

    Attributes:
        accounts: number of accounts with at least one slice.
        days: from the first day to the last day of any slice.
        covered_days: days with a slice, summed over the accounts.
    """

    accounts: int
    days: DateWindow
    covered_days: int


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: what is known of a slice.

    Attributes:
        account_id: the account.
        from_date: first day of the slice.
        to_date: last day of the slice; equal to `from_date` unless its rows carry no date.
        group_by: the breakdown; None for none.
        request_id: id of the request that fetched it last; None if the server sent none.
        rows: number of rows; a slice may have none.
        totals: exact sum of the rows by currency code; "XXX" for rows without a currency.
        digest: SHA-256 of the rows, independent of their order.
        fetched_at: time of the last fetch, UTC.
        as_of: the current day at that time; the last day of the slice once it is invalidated.
        incomplete: whether the last day of the slice was not over at that time.
        widest_days: largest accepted window of the account, in days; None for no known limit.
        borne_rows: largest accepted response, in rows, where larger ones were rejected; None for
            no known limit.
    """

    account_id: str
    from_date: date
    to_date: date
    group_by: GroupBy | None
    request_id: str | None
    rows: int
    totals: Mapping[str, Decimal]
    digest: str
    fetched_at: datetime
    as_of: date
    incomplete: bool
    # These names are columns of tables that exist, so they cannot be changed.
    widest_days: int | None = None
    borne_rows: int | None = None

    @property
    def window(self) -> DateWindow:
        """The days of the slice."""
        return DateWindow(self.from_date, self.to_date)

    @property
    def key(self) -> SliceKey:
        """The account and the days of the slice."""
        return SliceKey(self.account_id, self.window)

    @property
    def rows_by_day(self) -> list[int]:
        """Number of rows of each day; rows without a date count for the first day."""
        return [self.rows] + [0] * (self.window.days - 1)

    def overlaps(self, window: DateWindow) -> bool:
        """Return whether the slice shares a day with a window."""
        return self.from_date <= window.to_date and window.from_date <= self.to_date

    def is_within(self, window: DateWindow) -> bool:
        """Return whether a window contains every day of the slice."""
        return window.from_date <= self.from_date and self.to_date <= window.to_date
