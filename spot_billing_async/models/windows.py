"""Inclusive date windows, and the division of a range of days into them.

The windows of a range cover it without a gap and without a shared day: no cost is requested twice.
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Literal, NamedTuple, get_args

CalendarWindow = Literal["day", "week", "month", "quarter", "whole"]
"""Calendar unit of a window; `whole` stands for the whole range at once."""

CALENDAR_WINDOWS: tuple[CalendarWindow, ...] = get_args(CalendarWindow)

WindowSize = CalendarWindow | int
"""Size of a window: a calendar unit, or a number of days."""


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

    Calendar windows end where the calendar unit does, weeks on Sunday (ISO 8601), so the first and
    the last one may be shorter. Range and size must be valid: `CostPlan.build` checks them.
    """
    last = _last_day(from_date, size)
    while last < to_date:
        yield DateWindow(from_date, last)
        from_date = last + timedelta(days=1)
        last = _last_day(from_date, size)
    yield DateWindow(from_date, to_date)


def _last_day(first: date, size: WindowSize) -> date:
    """Return the last day of the window that starts on `first`, at most `date.max`."""
    match size:
        case "whole":
            return date.max
        case "month" | "quarter":
            month = first.month + (0 if size == "month" else -first.month % 3)
            return date(first.year, month, monthrange(first.year, month)[1])
        case "week":
            days_left = 6 - first.weekday()
        case _:
            days_left = 0 if size == "day" else size - 1
    return first + timedelta(days=min(days_left, (date.max - first).days))
