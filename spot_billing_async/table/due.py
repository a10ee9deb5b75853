"""Which days are due, in which windows they are asked, and what a failure says of a window. Pure.

A day may be restated until it is `mutable_days` old. It is settled, and never asked again, once it
was answered at that age: an answer from before says nothing of what was restated since.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal, NamedTuple

from spot_billing_async.errors import (
    ApiError,
    DeadlineExceededError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
)
from spot_billing_async.models import CostQuery, GroupBy
from spot_billing_async.windows import DateWindow, WindowSize, cut

TableWindow = WindowSize | Literal["auto"]
"""How wide a request is: as for a pull, or as wide as the server bears."""

_DAY = timedelta(days=1)
_TOO_LARGE = 413


class Ask(NamedTuple):
    """A window that is to be asked, and what is kept back until it is known how that ends.

    Attributes:
        account_id: the account.
        window: its days.
        group_by: the breakdown.
        widest_days: the widest window that is tried for the account; None for any.
        rest: days after it that were part of a window that was too wide; None for none.
    """

    account_id: str
    window: DateWindow
    group_by: GroupBy | None
    widest_days: int | None = None
    rest: DateWindow | None = None

    @property
    def query(self) -> CostQuery:
        """What is sent."""
        return CostQuery(
            account_id=self.account_id,
            from_date=self.window.from_date,
            to_date=self.window.to_date,
            group_by=self.group_by,
        )

    @property
    def whole(self) -> DateWindow:
        """Its days and those that are kept back."""
        last = self.window.to_date if self.rest is None else self.rest.to_date
        return DateWindow(self.window.from_date, last)


def due_windows(
    wanted: DateWindow, settled: Iterable[DateWindow], size: TableWindow, widest_days: int | None
) -> list[DateWindow]:
    """The windows to ask, so that each wanted day that is not settled is in one of them.

    No settled day is in any, so days that may still change drag no closed ones along.

    Args:
        wanted: the range that the table is to hold.
        settled: windows that are not asked again; in any order, and they may overlap.
        size: how wide a window is; "auto" for as wide as possible.
        widest_days: what "auto" remembers of the account; None for any width.
    """
    width: WindowSize = (widest_days or "whole") if size == "auto" else size
    return [
        window
        for gap in _gaps(wanted, settled)
        for window in cut(gap.from_date, gap.to_date, width)
    ]


def days_of(windows: Iterable[DateWindow]) -> int:
    """How many days windows have together."""
    return sum(window.days for window in windows)


def too_wide(error: SpotBillingError) -> bool:
    """Whether a window may have failed because it asks for too much at once."""
    match error:
        case ResponseTooLargeError():
            return True
        case DeadlineExceededError():
            # Not where it was the quota that it waited for.
            return not any(met.startswith("RateLimitedError") for met in error.met)
        case ApiError(status=status):
            return status == _TOO_LARGE
        case _:
            return False


def may_be_too_wide(error: SpotBillingError) -> bool:
    """Whether it depends on others: a 5xx on this window alone, or on everything."""
    return isinstance(error, ServerError)


def halved(ask: Ask) -> Ask | None:
    """The first half of what was too wide, the rest kept back; None where there is no half.

    One half alone: only when it is answered is it known what width the rest can be asked in.
    """
    if ask.window.days == 1:
        return None
    days = (ask.window.days + 1) // 2
    last = ask.window.from_date + (days - 1) * _DAY
    return ask._replace(
        window=DateWindow(ask.window.from_date, last),
        widest_days=days,
        rest=DateWindow(last + _DAY, ask.whole.to_date),
    )


def resumed(ask: Ask) -> list[Ask]:
    """What was kept back, in windows of the width that was found."""
    return [] if ask.rest is None else _asks(ask, ask.rest, ask.window.days)


def by_day(ask: Ask) -> list[Ask]:
    """The same days, each asked alone: for rows that do not say which day they are of."""
    return _asks(ask, ask.whole, 1)


def _asks(ask: Ask, window: DateWindow, days: int) -> list[Ask]:
    return [
        ask._replace(window=part, widest_days=days, rest=None)
        for part in cut(window.from_date, window.to_date, days)
    ]


def _gaps(wanted: DateWindow, taken: Iterable[DateWindow]) -> Iterator[DateWindow]:
    """What is left of a range without the windows that are taken."""
    first = wanted.from_date
    for window in sorted(taken):
        if window.from_date > wanted.to_date:
            break
        if window.from_date > first:
            yield DateWindow(first, window.from_date - _DAY)
        if window.to_date >= first:
            if window.to_date >= wanted.to_date:
                return
            first = window.to_date + _DAY
    yield DateWindow(first, wanted.to_date)
