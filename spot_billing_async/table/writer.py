"""Writer of a sync's results: into the batch, the counters and the caller's callback."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from spot_billing_async._core.aio.tasks import finished
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.models import CostItem
from spot_billing_async.table.batch import CommitBatch
from spot_billing_async.table.ledger import SliceKey
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.report import SyncProgress
from spot_billing_async.table.scope import AUTO, Scope
from spot_billing_async.table.slices import has_undated_rows

ProgressCallback = Callable[[int, int], None]
"""Called on the event loop with the number of done days and of due days."""


class TableWriter:
    """Handler that writes the outcomes of slices to the table.

    Args:
        client: source of the server's rate limit.
        scope: the arguments of the sync.
        sizer: source of the limits to store in the ledger.
        batch: slices waiting for the next commit.
        progress: counters of the sync.
        callback: called after each outcome; None for no calls.
    """

    def __init__(
        self,
        client: TenantClient,
        scope: Scope,
        sizer: WindowSizer,
        batch: CommitBatch,
        progress: SyncProgress,
        callback: ProgressCallback | None,
    ) -> None:
        self._client = client
        self._scope = scope
        self._sizer = sizer
        self._batch = batch
        self._progress = progress
        self._callback = callback

    async def on_fetched(self, key: SliceKey, fetched: Fetched[CostItem]) -> Sequence[int] | None:
        """Add a response to the batch; count the days that the table cannot hold as failed.

        Returns:
            The number of rows of each day; None if each day has to be requested alone, as rows
            without a date would make the whole window one slice.

        Raises:
            DecodeError, ExportError: the whole response is unusable.
        """
        is_auto = self._scope.window == AUTO
        if is_auto and key.window.days > 1 and has_undated_rows(fetched.items):
            return None
        split = await finished(self._batch.add, key, fetched, datetime.now(UTC))
        for days, error in split.rejected:
            query = SliceKey(key.account_id, days).query(self._scope.group_by)
            self.on_failed(Failed(query, error, fetched.attempts, fetched.elapsed_s), days.days)
        if self._batch.is_full:
            await self._commit()
        self._report_progress()
        return [rows for each in split.slices for rows in each.entry.rows_by_day]

    def on_failed(self, failure: Failed, days: int) -> None:
        """Count days that failed."""
        self._progress.failures.append(failure)
        self._progress.failed_days += days
        self._report_progress()

    def on_not_started(self, key: SliceKey) -> None:
        """Count days that were not requested."""
        self._progress.not_started_days += key.window.days
        self._report_progress()

    async def on_round_end(self, report: PullReport) -> None:
        """Commit the rest of the batch, and count the requests."""
        await self._commit()
        self._progress.add_pull(report)

    async def _commit(self) -> None:
        # `finished`: a commit in a worker thread cannot be cancelled halfway.
        rate_limit = self._client.costs.rate_limit
        await finished(self._batch.commit, self._sizer.limits_to_remember, rate_limit)

    def _report_progress(self) -> None:
        if self._callback is not None:
            self._callback(self._progress.done_days, self._progress.due_days)
