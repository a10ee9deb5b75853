"""The books of a sync while it runs."""

from collections.abc import Mapping
from decimal import Decimal

from spot_billing_async.bulk.outcome import Failed, PullReport
from spot_billing_async.table.reconcile import Reconciliation
from spot_billing_async.table.report import Change, SyncReport


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
