"""Results of a sync: its plan, its progress and its report."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Failed, PullReport
from spot_billing_async.models.money import exact_sum


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A restatement: the API now returns other content for a slice that the table had.

    If an amount only moved from one group to another, the totals are equal.

    Attributes:
        account_id: the account.
        from_date: the day; for rows without a date, the first day of the slice.
        to_date: the day; for rows without a date, the last day of the slice.
        currency: ISO 4217 code; "XXX" for none.
        old_total: total that the table had.
        new_total: total that it has now.
    """

    account_id: str
    from_date: date
    to_date: date
    currency: str
    old_total: Decimal
    new_total: Decimal

    @property
    def difference(self) -> Decimal:
        """New total minus old total, exact."""
        return exact_sum((self.new_total, self.old_total.copy_negate()))


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of the table that differs from the API's response to one wide request.

    Attributes:
        account_id: the account.
        from_date: the day; for rows without a date, the first day of the range.
        to_date: the day; for rows without a date, the last day of the range.
        currency: ISO 4217 code; "XXX" for none.
        table_total: sum of the table's rows.
        api_total: sum of the response.
    """

    account_id: str
    from_date: date
    to_date: date
    currency: str
    table_total: Decimal
    api_total: Decimal


class DaySum(NamedTuple):
    """A sum of rows of the table.

    Attributes:
        name: value of the column that the rows are grouped by.
        day: the day; None for rows without a date.
        currency: ISO 4217 code; "XXX" for none.
        total: the sum.
    """

    name: str | None
    day: date | None
    currency: str
    total: Decimal


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that a sync would send if it started now.

    Attributes:
        requests: number of requests. Retries, further pages and the parts of windows that prove to
            be too wide are not included; `max_requests` of a sync limits them all.
        due_days: days to request, summed over the accounts; each is a slice if rows carry dates.
        skipped_days: days that the table has and that are settled.
        rate_limit: rate limit of cost queries, if known.
        is_lower_bound: whether `requests` is a lower bound: nothing of this breakdown was fetched
            yet, so the widest window that the server accepts is unknown.
    """

    requests: int
    due_days: int
    skipped_days: int
    rate_limit: RateLimit | None = None
    is_lower_bound: bool = False

    @property
    def least_s(self) -> float | None:
        """Minimum duration in seconds if no other client uses the quota; None if unknown."""
        return None if self.rate_limit is None else self.rate_limit.least_s(self.requests)


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a sync; days are summed over the accounts.

    `planned_days == skipped_days + new_days + changed_days + unchanged_days + failed_days +
    not_started_days`.

    Attributes:
        planned_days: days of the range, times the number of accounts.
        skipped_days: days that the table had and that were settled: not requested.
        new_days: days that the table did not have.
        changed_days: days that were replaced.
        unchanged_days: days that were requested again and had the same content; their rows were
            not rewritten.
        failed_days: days whose requests failed; see `failures`.
        not_started_days: days that were not requested because `max_requests` was reached.
        rows_written: number of rows of new and changed days.
        requests: cost requests sent, retries and further pages included.
        retries: attempts after a failed one.
        totals: sum of the ledger's entries in the range after the sync, by currency.
        changes: restatements, by account and day.
        failures: windows that failed, each once.
        differences: differences found by reconciling; empty if it was not requested.
        unreconciled: slices that could not be reconciled, each with the reason.
        elapsed_s: duration of the sync in seconds.
    """

    planned_days: int
    skipped_days: int
    new_days: int
    changed_days: int
    unchanged_days: int
    failed_days: int
    not_started_days: int
    rows_written: int
    requests: int
    retries: int
    totals: Mapping[str, Decimal]
    changes: tuple[Change, ...]
    failures: tuple[Failed, ...]
    differences: tuple[Difference, ...]
    unreconciled: tuple[Failed, ...]
    elapsed_s: float

    @property
    def complete(self) -> bool:
        """True if the table has every day of the range and no difference was found."""
        return not (
            self.failed_days or self.not_started_days or self.differences or self.unreconciled
        )


class Reconciliation(NamedTuple):
    """Result of reconciling a table, and the number of requests it took."""

    differences: tuple[Difference, ...] = ()
    unreconciled: tuple[Failed, ...] = ()
    requests: int = 0
    retries: int = 0


class SyncProgress:
    """Counters of a running sync.

    Args:
        planned_days: days of the range, times the number of accounts.
        due_days: days to request, summed over the accounts.
    """

    def __init__(self, planned_days: int, due_days: int) -> None:
        self.due_days = due_days
        self._planned_days = planned_days
        self.new_days = 0
        self.changed_days = 0
        self.unchanged_days = 0
        self.failed_days = 0
        self.not_started_days = 0
        self.rows_written = 0
        self.requests: int = 0
        self.retries: int = 0
        self.changes: list[Change] = []
        self.failures: list[Failed] = []

    @property
    def done_days(self) -> int:
        """Days with a final outcome."""
        return (
            self.new_days
            + self.changed_days
            + self.unchanged_days
            + self.failed_days
            + self.not_started_days
        )

    def add_pull(self, pull: PullReport) -> None:
        """Add the requests of a pull."""
        self.requests += pull.requests
        self.retries += pull.retries

    def report(
        self, reconciliation: Reconciliation, totals: Mapping[str, Decimal], elapsed_s: float
    ) -> SyncReport:
        """Return the report of the finished sync."""
        return SyncReport(
            planned_days=self._planned_days,
            skipped_days=self._planned_days - self.due_days,
            new_days=self.new_days,
            changed_days=self.changed_days,
            unchanged_days=self.unchanged_days,
            failed_days=self.failed_days,
            not_started_days=self.not_started_days,
            rows_written=self.rows_written,
            requests=self.requests + reconciliation.requests,
            retries=self.retries + reconciliation.retries,
            totals=totals,
            changes=tuple(sorted(self.changes, key=lambda c: (c.account_id, c.from_date))),
            failures=tuple(self.failures),
            differences=reconciliation.differences,
            unreconciled=reconciliation.unreconciled,
            elapsed_s=elapsed_s,
        )
