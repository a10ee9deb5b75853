"""Validated arguments of a sync."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GroupBy
from spot_billing_async.models.validation import check_count, checked_date
from spot_billing_async.models.windows import CALENDAR_WINDOWS, DateWindow
from spot_billing_async.table.planning.due import TableWindow
from spot_billing_async.table.storage.location import checked_location

AUTO: Final = "auto"


class Scope(NamedTuple):
    """Accounts and days that a table is to hold, and how they are requested."""

    table: str
    accounts: tuple[str, ...]
    days: DateWindow
    group_by: GroupBy | None
    window: TableWindow
    mutable_days: int
    today: date

    @property
    def planned_days(self) -> int:
        """Days of the range, times the number of accounts."""
        return self.days.days * len(self.accounts)

    @property
    def mutable_from(self) -> date:
        """The first day that may still be restated."""
        # `mutable_days` may be any number, but no date lies before `date.min`.
        days = min(self.mutable_days - 1, (self.today - date.min).days)
        return self.today - timedelta(days=days)


def checked_scope(
    table: object,
    *,
    accounts: Iterable[str | None],
    from_date: date,
    to_date: date,
    group_by: GroupBy | None,
    window: TableWindow,
    mutable_days: int,
    today: date | None,
) -> Scope:
    """Return the arguments of a sync as a `Scope`.

    Raises:
        ConfigError: an argument is not valid; the message names it, what is allowed, and its value.
    """
    # Window "whole" is not cut into parts: the planner does that, by what is due.
    plan = CostPlan.build(accounts, from_date, to_date, "whole", group_by)
    # `bool` is a subclass of int, but True is not a number of days.
    is_count = isinstance(window, int) and not isinstance(window, bool) and window >= 1
    if not is_count and window not in (AUTO, *CALENDAR_WINDOWS):
        names = ", ".join(map(repr, (AUTO, *CALENDAR_WINDOWS)))
        raise ConfigError(f"window must be one of {names} or a number of days >= 1, got {window!r}")
    check_count("mutable_days", mutable_days)
    return Scope(
        checked_location(table),
        plan.accounts,
        DateWindow(from_date, to_date),
        plan.group_by,
        window,
        mutable_days,
        datetime.now(UTC).date() if today is None else checked_date("today", today),
    )
