"""Days of a table that have to be fetched: those that are not settled. Pure.

A day may be restated until it is `mutable_days` old. It is settled, and not requested again, once
it was fetched at that age: an earlier fetch says nothing about later restatements. The ledger's
query for settled slices is `TableStore.settled_slices`.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Literal

from spot_billing_async.models.windows import DateWindow, WindowSize

TableWindow = WindowSize | Literal["auto"]
"""Width of a request: as for a pull, or "auto" for as wide as the server accepts."""

_DAY = timedelta(days=1)


def due_windows(wanted: DateWindow, settled: Iterable[DateWindow]) -> Iterator[DateWindow]:
    """Yield the widest windows that contain exactly the wanted days that are not settled.

    Args:
        wanted: the range that the table is to hold.
        settled: windows that are not requested again, in any order; they may overlap.
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


def merged_windows(windows: Iterable[DateWindow]) -> list[DateWindow]:
    """Return the same days in as few windows as possible: merge adjacent and overlapping ones."""
    merged: list[DateWindow] = []
    for window in sorted(windows):
        if merged and (window.from_date - merged[-1].to_date).days <= 1:
            merged[-1] = DateWindow(merged[-1].from_date, max(merged[-1].to_date, window.to_date))
        else:
            merged.append(window)
    return merged
