"""What a sync is asked to do: arguments that were checked, before anything is read or sent."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GroupBy
from spot_billing_async.models.validation import check_count, checked_date
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.due import TableWindow
from spot_billing_async.table.storage.location import checked_place

AUTO: Final = "auto"


class Scope(NamedTuple):
    """Accounts and days that a table is to hold, and how they are asked for."""

    table: str
    accounts: tuple[str, ...]
    days: DateWindow
    group_by: GroupBy | None
    window: TableWindow
    mutable_days: int
    today: date

    @property
    def planned_days(self) -> int:
        """Days of the range, times accounts."""
        return self.days.days * len(self.accounts)

    @property
    def mutable_from(self) -> date:
        """The first day that may be restated after today."""
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
    """The scope.

    Raises:
        ConfigError: names the argument, its value and what is allowed.
    """
    size = "whole" if window == AUTO else window
    try:
        plan = CostPlan.build(accounts, from_date, to_date, size, group_by)
    except ConfigError as error:
        raise ConfigError(str(error).replace("allowed: day,", "allowed: auto, day,")) from None
    check_count("mutable_days", mutable_days)
    return Scope(
        checked_place(table),
        plan.accounts,
        DateWindow(from_date, to_date),
        plan.group_by,
        window,
        mutable_days,
        datetime.now(UTC).date() if today is None else checked_date("today", today),
    )
