"""Inclusive date windows, and the division of a range of days into them.

A window includes its first and its last day. The windows of one range follow each other without a
gap and without a shared day, and together cover exactly the range: no cost is requested twice.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Literal, NamedTuple, get_args

CalendarWindow = Literal["day", "week", "month", "quarter", "whole"]
"""Calendar unit of a window; `whole` stands for the whole range at once."""

CALENDAR_WINDOWS: tuple[CalendarWindow, ...] = get_args(CalendarWindow)
"""All calendar units."""

WindowSize = CalendarWindow | int
"""Size of a window: a calendar unit, or a number of days."""

_MONTHS_PER_QUARTER = 3


class DateWindow(NamedTuple):
    """Days from `from_date` to `to_date`, both included."""

    from_date: date
    to_date: date

    @property
    def days(self) -> int:
        """Number of days in the window, at least 1."""
        return (self.to_date - self.from_date).days + 1


def cut(from_date: date, to_date: date, size: WindowSize) -> Iterator[DateWindow]:
    """Divide the days from `from_date` to `to_date`, both included, into windows of a size.

    Calendar windows end where the calendar unit does: weeks on Sunday (ISO 8601), months and
    quarters on their last day; so the first and the last window may be shorter. A number of days is
    counted from `from_date`. Range and size must be valid: `CostPlan.build` checks them.
    """
    first = from_date
    while True:
        last = min(_last_day(first, size), to_date)
        yield DateWindow(first, last)
        if last >= to_date:
            return
        first = last + timedelta(days=1)


def _last_day(first: date, size: WindowSize) -> date:
    """Return the last day of the window that starts on `first`, at most `date.max`."""
    match size:
        case "day":
            return first
        case "week":
            return _days_later(first, 6 - first.weekday())
        case "month":
            return _end_of_month(first.year, first.month)
        case "quarter":
            return _end_of_month(first.year, first.month + -first.month % _MONTHS_PER_QUARTER)
        case "whole":
            return date.max
        case int():
            return _days_later(first, size - 1)


def _end_of_month(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])


def _days_later(day: date, days: int) -> date:
    return day + timedelta(days=min(days, (date.max - day).days))
