"""What a sync comes to."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import msgspec

from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Failed, PullReport
from spot_billing_async.models.money import exact_sum


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A slice that the table had, and that was answered differently now: a restatement.

    Where an amount moved from one group to another, the totals are the same.

    Attributes:
        account_id: the account.
        from_date: the day; where rows carry none, the first day of the slice.
        to_date: the day; where rows carry none, the last day of the slice.
        currency: ISO 4217 code; "XXX" for none.
        old_total: what the table had.
        new_total: what it has now.
    """

    account_id: str
    from_date: date
    to_date: date
    currency: str
    old_total: Decimal
    new_total: Decimal

    @property
    def difference(self) -> Decimal:
        """How much more it is now, exact."""
        return exact_sum((self.new_total, self.old_total.copy_negate()))


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of the table that is not what the API says in one wide request.

    Attributes:
        account_id: the account.
        from_date: the day; where rows carry none, the first day of the range.
        to_date: the day; where rows carry none, the last day of the range.
        currency: ISO 4217 code; "XXX" for none.
        table_total: the sum of the table's rows.
        api_total: the sum of the answer.
    """

    account_id: str
    from_date: date
    to_date: date
    currency: str
    table_total: Decimal
    api_total: Decimal


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync would do, were it begun now.

    Attributes:
        requests: requests that are needed; retries, further pages and the parts of windows that
            turn out to be too wide come on top. `max_requests` bounds them all.
        due_days: days to ask for, counted for each account; each is a slice, where rows carry days.
        skipped_days: days that the table has, and that are old enough to stay.
        rate_limit: of cost queries, as far as it is known.
        is_least: whether `requests` is no more than the least, as nothing of this breakdown was
            ever answered: how many days the server bears at once is not known yet.
    """

    requests: int
    due_days: int
    skipped_days: int
    rate_limit: RateLimit | None = None
    is_lower_bound: bool = False

    @property
    def least_s(self) -> float | None:
        """Seconds that the requests take at least, if nobody else sends any."""
        return None if self.rate_limit is None else self.rate_limit.least_s(self.requests)


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """The books of a sync, in days counted for each account.

    `planned_days == skipped_days + new_days + changed_days + unchanged_days + failed_days +
    not_started_days`.

    Attributes:
        planned_days: days of the range, times accounts.
        skipped_days: days that the table had, and that were old enough to stay: not asked.
        new_days: days that the table did not have.
        changed_days: days that were replaced.
        unchanged_days: days that were asked again and are as they were; their rows were not
            rewritten.
        failed_days: days whose requests failed; `failures` says why.
        not_started_days: days that were not asked, as `max_requests` were spent.
        rows_written: rows of new and changed days.
        requests: cost requests sent, retries and further pages included.
        retries: tries made after a failed one.
        totals: sum of what the ledger has of the range after this, by currency.
        changes: what was restated, by account and day.
        failures: windows that failed, each once.
        differences: what reconciling found; empty where it was not asked for.
        unreconciled: accounts that could not be reconciled, and why.
        elapsed_s: seconds from beginning to end.
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
        """Every day of the range is in the table, and nothing was found to differ."""
        return not (
            self.failed_days or self.not_started_days or self.differences or self.unreconciled
        )


class Reconciliation(NamedTuple):
    """What was found, and what was sent to find it."""

    differences: tuple[Difference, ...] = ()
    unreconciled: tuple[Failed, ...] = ()
    requests: int = 0
    retries: int = 0


class Books:
    """Counts days as they are settled one way or the other.

    Args:
        planned_days: days of the range, times accounts.
        due_days: those that are asked for.
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
        self.requests = 0
        self.retries = 0
        self.changes: list[Change] = []
        self.failures: list[Failed] = []

    @property
    def done_days(self) -> int:
        """Days of which it is known how they ended."""
        return (
            self.new_days
            + self.changed_days
            + self.unchanged_days
            + self.failed_days
            + self.not_started_days
        )

    def add_pull(self, pull: PullReport) -> None:
        """Count what a pull sent."""
        self.requests += pull.requests
        self.retries += pull.retries

    def report(
        self, found: Reconciliation, totals: Mapping[str, Decimal], elapsed_s: float
    ) -> SyncReport:
        """The books, closed."""
        return SyncReport(
            planned_days=self._planned_days,
            skipped_days=self._planned_days - self.due_days,
            new_days=self.new_days,
            changed_days=self.changed_days,
            unchanged_days=self.unchanged_days,
            failed_days=self.failed_days,
            not_started_days=self.not_started_days,
            rows_written=self.rows_written,
            requests=self.requests + found.requests,
            retries=self.retries + found.retries,
            totals=totals,
            changes=tuple(sorted(self.changes, key=lambda c: (c.account_id, c.from_date))),
            failures=tuple(self.failures),
            differences=found.differences,
            unreconciled=found.unreconciled,
            elapsed_s=elapsed_s,
        )
