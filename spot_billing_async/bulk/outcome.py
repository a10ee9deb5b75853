"""Outcomes of slices, and the report of a pull."""

from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

import msgspec

from spot_billing_async.errors import SpotBillingError
from spot_billing_async.models import CostQuery

T = TypeVar("T")


class SliceState(IntEnum):
    """State of a slice; a run keeps one byte per slice and counts them for its report."""

    NOT_STARTED = 0
    STARTED = 1
    OK = 2
    EMPTY = 3
    FAILED = 4


class Fetched(msgspec.Struct, Generic[T], frozen=True):
    """A slice whose data was fetched completely.

    Attributes:
        query: the query of the slice.
        items: rows of all pages; an empty list if the server has none.
        request_id: the server's id of the last request; None if it gave none or no request was
            sent.
        attempts: requests sent for this slice, retries and pages included.
        elapsed_s: seconds from the start of the slice to its last byte, waiting included.
    """

    query: CostQuery
    items: list[T]
    request_id: str | None
    attempts: int
    elapsed_s: float


class Failed(msgspec.Struct, frozen=True):
    """A slice that failed; the other slices of the pull are not affected.

    Attributes:
        query: the query of the slice.
        error: reason of the failure.
        attempts: requests sent for this slice; 0 if it failed before the first.
        elapsed_s: seconds from the start of the slice to its end, waiting included.
    """

    query: CostQuery
    error: SpotBillingError
    attempts: int
    elapsed_s: float


class Unfinished(NamedTuple):
    """A slice without an outcome: cancelled if it was `started`, otherwise never begun."""

    query: CostQuery
    started: bool


class PullReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a pull: `planned == ok + empty + failed + cancelled + not_started`.

    Attributes:
        planned: slices of the plan.
        ok: slices received with at least one row.
        empty: slices received without a row.
        failed: slices received as `Failed`.
        cancelled: slices that were started but not received before the run ended.
        not_started: slices that were never begun; while the run is open, all that are not received.
        rows: rows received.
        totals: exact sum of their costs by currency code; "XXX" for rows that name no currency.
            Empty if the item type has no `cost: Decimal` with a `currency` beside it.
        requests: requests sent, retries and further pages included.
        retries: attempts made after a failed one.
        refusals: requests that the server rejected because of its rate limit.
        mismatches: responses that contradicted their query: another account or day, or another URL
            echoed. The query was sent again, unless its slice failed.
        elapsed_s: seconds from entering the run to its end; to now while it is open.
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
    mismatches: int = 0
    elapsed_s: float

    @property
    def complete(self) -> bool:
        """True if every planned slice was fetched, that is ok or empty."""
        return self.ok + self.empty == self.planned
