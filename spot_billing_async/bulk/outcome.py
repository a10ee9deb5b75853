"""What becomes of a slice, and of the whole pull."""

from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from spot_billing_async.errors import SpotBillingError
from spot_billing_async.models import CostQuery

T = TypeVar("T")


class SliceState(IntEnum):
    """Where a slice stands. A run keeps one byte a slice, so that its counts cannot drift apart."""

    NOT_STARTED = 0
    STARTED = 1
    OK = 2
    EMPTY = 3
    FAILED = 4


class Fetched(msgspec.Struct, Generic[T], frozen=True):
    """A slice that was answered, completely.

    Attributes:
        query: what was asked.
        items: every row of every page; an empty list where the server has none.
        request_id: the server's id of the (last) request; None where it gave none,
            or none was sent.
        attempts: requests sent for this slice, retries and pages included.
        elapsed_s: seconds from the start of the slice to its last byte, waits included.
    """

    query: CostQuery
    items: list[T]
    request_id: str | None
    attempts: int
    elapsed_s: float


class Failed(msgspec.Struct, frozen=True):
    """A slice that was given up; the others go on.

    Attributes:
        query: what was asked.
        error: why it was given up.
        attempts: requests sent for this slice; 0 where it failed before the first.
        elapsed_s: seconds from the start of the slice to its end, waits included.
    """

    query: CostQuery
    error: SpotBillingError
    attempts: int
    elapsed_s: float


class Unfinished(NamedTuple):
    """A slice whose outcome was never handed over: it was cancelled, or not even started."""

    query: CostQuery
    started: bool


class PullReport(msgspec.Struct, frozen=True, kw_only=True):
    """The books of a pull: `planned == ok + empty + failed + cancelled + not_started`.

    Attributes:
        planned: slices of the plan.
        ok: slices handed over with at least one row.
        empty: slices handed over without a row.
        failed: slices handed over as `Failed`.
        cancelled: slices that were started, but not handed over before the run ended.
        not_started: slices that were never begun (while the run goes on: not handed over yet).
        rows: rows handed over.
        totals: sum of their costs by currency code, exact; "XXX" for rows that name no currency.
            Empty where the rows' type has no `cost: Decimal`, or no `currency` beside it.
        requests: requests sent, retries and further pages included.
        retries: tries made after a failed one.
        refusals: requests that the server refused for their rate.
        elapsed_s: seconds from entering the run to its end (or to now).
    """

    planned: int
    ok: int
    empty: int
    failed: int
    cancelled: int
    not_started: int
    rows: int
    totals: Mapping[str, Decimal]
    requests: int
    retries: int
    refusals: int = 0
    elapsed_s: float

    @property
    def complete(self) -> bool:
        """Every planned slice was answered."""
        return self.ok + self.empty == self.planned
