"""Query of the cache, and the cache keys of its days."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from datetime import date, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

import msgspec

from spot_billing_async.cache.codec import Codec
from spot_billing_async.models import GroupBy
from spot_billing_async.models.results import Answer
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.telemetry import Hook

T = TypeVar("T")

_FORMAT = 1
"""Version of the stored format. A change of the format raises it, so that keys never clash."""


class SeriesKey(NamedTuple):
    """Identity of a series of days; two different series share no cache key."""

    namespace: str  # of the credential that may see the data
    origin: str  # URL that the data was requested from
    account_id: str
    group_by: GroupBy | None
    type_name: str  # `Codec.name` of the item type

    def keys(self, days: DateWindow) -> dict[str, date]:
        """Return the days of a window by cache key, in order."""
        name = f"spot-billing:{_FORMAT}:{_digest(self)}:"
        first = days.from_date.toordinal()
        each = map(date.fromordinal, range(first, first + days.days))
        return {name + day.isoformat(): day for day in each}


@lru_cache(maxsize=1024)
def _digest(series: SeriesKey) -> str:
    """Return a digest of fixed length, which reveals no part of the series."""
    return blake2b(msgspec.json.encode(series), digest_size=16).hexdigest()


class CacheQuery(msgspec.Struct, Generic[T], frozen=True):
    """Query of the cache, with the limits of its caller."""

    operation_id: str
    credential: Hashable  # key of the credential; another one of the tenant has another key
    series: SeriesKey
    days: DateWindow
    codec: Codec[T]
    fetch: Callable[[DateWindow], Awaitable[Answer[T]]]  # requests a window from the API
    clock: Callable[[], float]
    ends_at_s: float  # reading of the clock at which the caller stops waiting
    grace_s: float  # to wait longer for a fetch of its own, whose error is more specific
    timeout_message: str
    hook: Hook | None


def contiguous_windows(days: Iterable[date]) -> list[DateWindow]:
    """Return the fewest windows that hold exactly these days, which have to be in order."""
    windows: list[DateWindow] = []
    for day in days:
        if windows and windows[-1].to_date + timedelta(days=1) == day:
            windows[-1] = DateWindow(windows[-1].from_date, day)
        else:
            windows.append(DateWindow(day, day))
    return windows
