"""Which days are due. Pure.

A day may be restated until it is `mutable_days` old. It is settled, and never asked again, once it
was answered at that age: an answer from before says nothing of what was restated since.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal

from spot_billing_async.models.windows import DateWindow, WindowSize

TableWindow = WindowSize | Literal["auto"]
"""How wide a request is: as for a pull, or as wide as the server bears."""

_DAY = timedelta(days=1)


def due_windows(wanted: DateWindow, settled: Iterable[DateWindow]) -> Iterator[DateWindow]:
    """The windows to ask, as wide as can be, so that each wanted day that is not settled is in one.

    No settled day is in any, so days that may still change drag no closed ones along.

    Args:
        wanted: the range that the table is to hold.
        settled: windows that are not asked again; in any order, and they may overlap.
    """
    first = wanted.from_date
    for window in sorted(settled):
        if window.from_date > wanted.to_date:
            break
        if window.from_date > first:
            yield DateWindow(first, window.from_date - _DAY)
        if window.to_date >= first:
            if window.to_date >= wanted.to_date:
                return
            first = window.to_date + _DAY
    yield DateWindow(first, wanted.to_date)


def joined(windows: Iterable[DateWindow]) -> list[DateWindow]:
    """The same days in as few windows as possible: those that touch become one."""
    joined: list[DateWindow] = []
    for window in sorted(windows):
        if joined and (window.from_date - joined[-1].to_date).days <= 1:
            joined[-1] = DateWindow(joined[-1].from_date, max(joined[-1].to_date, window.to_date))
        else:
            joined.append(window)
    return joined
