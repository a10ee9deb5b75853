"""What a pull is going to ask: accounts times windows, a sequence never laid out in memory."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import overload

from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CostQuery, GroupBy
from spot_billing_async.models.validation import (
    check_range,
    checked_date,
    checked_group_by,
    checked_ids,
)
from spot_billing_async.models.windows import CALENDAR_WINDOWS, DateWindow, WindowSize, cut


@dataclass(frozen=True, slots=True)
class CostPlan(Sequence[CostQuery]):
    """The slices of a pull: each account with each window, all windows of an account in a row.

    A plan is a sequence of `CostQuery`. A query is made when it is looked at, so a plan of a
    million slices takes no more memory than its accounts and windows. `CostPlan.build` makes one.
    """

    accounts: tuple[str, ...]
    windows: tuple[DateWindow, ...]
    group_by: GroupBy | None

    @classmethod
    def build(
        cls,
        accounts: Iterable[str | None],
        from_date: date,
        to_date: date,
        window: WindowSize = "month",
        group_by: GroupBy | None = None,
    ) -> "CostPlan":
        """Cut a range of days into windows and plan to ask each account for each of them.

        Args:
            accounts: account ids. One that is named twice is asked once; one that is None (an
                account the API lists without an id) is refused, as nothing could be asked of it.
            from_date: first day, included.
            to_date: last day, included.
            window: "day", "week" (Monday to Sunday), "month", "quarter", "whole", or a number of
                days counted from `from_date`. Rows carry their day whatever the window, so wider
                windows cost fewer requests.
            group_by: "account", "service", "region", "family", or None for no breakdown.

        Raises:
            ArgumentError: names the argument, its value and what is allowed.
        """
        account_ids = checked_ids("accounts", accounts)
        if not account_ids:
            raise ArgumentError("accounts: the list is empty; allowed: at least one account id")
        checked_date("from_date", from_date)  # here, other than in a query, None is no day either
        checked_date("to_date", to_date)
        check_range(from_date, to_date)
        size = _checked_window(window)
        return cls(account_ids, tuple(cut(from_date, to_date, size)), checked_group_by(group_by))

    def __len__(self) -> int:
        return len(self.accounts) * len(self.windows)

    @overload
    def __getitem__(self, index: int) -> CostQuery: ...
    @overload
    def __getitem__(self, index: slice) -> list[CostQuery]: ...
    def __getitem__(self, index: int | slice) -> CostQuery | list[CostQuery]:
        if isinstance(index, slice):
            return [self._query(i) for i in range(len(self))[index]]
        return self._query(range(len(self))[index])

    def __iter__(self) -> Iterator[CostQuery]:
        return map(self._query, range(len(self)))

    def _query(self, index: int) -> CostQuery:
        account, window = divmod(index, len(self.windows))
        from_date, to_date = self.windows[window]
        return CostQuery(
            account_id=self.accounts[account],
            from_date=from_date,
            to_date=to_date,
            group_by=self.group_by,
        )


def _checked_window(window: object) -> WindowSize:
    if window in CALENDAR_WINDOWS:
        return window
    if isinstance(window, int) and not isinstance(window, bool) and window >= 1:
        return window
    raise ArgumentError(
        f"window: {window!r} is unknown; allowed: {', '.join(CALENDAR_WINDOWS)} "
        "or a number of days from 1"
    )
