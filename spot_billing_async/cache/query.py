"""What a caller asks of the cache, and the keys that its days have there."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
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
"""Of what is kept; another one is in the keys of versions that write another."""


class Series(NamedTuple):
    """Whose days they are: days of two series are never taken for each other.

    Attributes:
        space: of the credential that may see them.
        origin: where they were asked for.
        account_id: whose costs.
        group_by: the breakdown.
        type_name: what they were decoded to.
    """

    namespace: str
    origin: str
    account_id: str
    group_by: GroupBy | None
    type_name: str

    def keys(self, days: DateWindow) -> dict[str, date]:
        """The key of each day, in order."""
        name = f"spot-billing:{_FORMAT}:{_digest(self)}:"
        first = days.from_date.toordinal()
        each = map(date.fromordinal, range(first, first + days.days))
        return {name + day.isoformat(): day for day in each}


@lru_cache(maxsize=1024)
def _digest(series: Series) -> str:
    """A digest: of the same length whatever the parts hold, and it shows none of them."""
    return blake2b(msgspec.json.encode(series), digest_size=16).hexdigest()


class Found(NamedTuple, Generic[T]):
    """The rows that were asked for, and the request that the last of them came with, if any did."""

    items: list[T]
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """A query, and how far its caller goes for an answer.

    Attributes:
        operation_id: what is asked of the API.
        series: whose days.
        days: which days.
        codec: of its rows.
        fetch: asks the API for days, on the caller's account.
        clock: seconds that only grow.
        ends_at_s: reading of the clock after which the caller waits no more.
        grace_s: seconds more that the caller waits for a fetch of its own, which has the same limit
            and tells more when it meets it.
        late: what is said then.
        hook: is told how the cache was of use.
    """

    operation_id: str
    series: Series
    days: DateWindow
    codec: Codec[T]
    fetch: Callable[[DateWindow], Awaitable[Answer[T]]]
    clock: Callable[[], float]
    ends_at_s: float
    grace_s: float
    late: str
    hook: Hook | None


def runs_of(days: Iterable[date]) -> list[DateWindow]:
    """Days as windows, as few as there can be; the days are in order."""
    runs: list[DateWindow] = []
    for day in days:
        if runs and runs[-1].to_date + timedelta(days=1) == day:
            runs[-1] = DateWindow(runs[-1].from_date, day)
        else:
            runs.append(DateWindow(day, day))
    return runs
