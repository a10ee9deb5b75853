"""Plan of a pull: accounts times windows, as a sequence whose queries are made on access."""

from collections.abc import Iterable, Sequence
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
    """The slices of a pull: every window of the first account, then of the next one, and so on.

    A slice is one account and one window. A plan is a sequence of `CostQuery`, each made on access,
    so a plan of a million slices takes no more memory than its accounts and windows. Use
    `CostPlan.build` to make one.

    Attributes:
        accounts: account ids, each once.
        windows: date ranges, both ends included, in order.
        group_by: breakdown of the costs; None for none.
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
        """Cut a range of days into windows and plan one slice per account and window.

        Args:
            accounts: account ids. Duplicates are dropped. None (an account that the API lists
                without an id) is an error.
            from_date: first day, included.
            to_date: last day, included.
            window: "day", "week" (Monday to Sunday), "month", "quarter", "whole", or a number of
                days counted from `from_date`. Rows have a date at any width, so wider windows cost
                fewer requests.
            group_by: "account", "service", "region", "family", or None for no breakdown.
        """
        account_ids = checked_ids("accounts", accounts)
        if not account_ids:
            raise ArgumentError("accounts must hold at least one account id, got none")
        # Unlike a query, a plan needs both days.
        check_range(checked_date("from_date", from_date), checked_date("to_date", to_date))
        is_days = isinstance(window, int) and not isinstance(window, bool) and window >= 1
        if not is_days and not (isinstance(window, str) and window in CALENDAR_WINDOWS):
            names = ", ".join(map(repr, CALENDAR_WINDOWS))
            raise ArgumentError(f"window must be one of {names} or an integer >= 1, got {window!r}")
        windows = tuple(cut(from_date, to_date, window))
        return cls(account_ids, windows, checked_group_by(group_by))

    def __len__(self) -> int:
        return len(self.accounts) * len(self.windows)

    @overload
    def __getitem__(self, index: int) -> CostQuery: ...
    @overload
    def __getitem__(self, index: slice) -> list[CostQuery]: ...
    def __getitem__(self, index: int | slice) -> CostQuery | list[CostQuery]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        account, window = divmod(range(len(self))[index], len(self.windows))
        from_date, to_date = self.windows[window]
        return CostQuery(
            account_id=self.accounts[account],
            from_date=from_date,
            to_date=to_date,
            group_by=self.group_by,
        )
