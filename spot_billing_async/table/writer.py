"""Takes what a sync's rounds bring: into the batch, into the books, and on to who watches."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from spot_billing_async._core.aio.tasks import finished
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.models import CostItem
from spot_billing_async.table.batch import Batch
from spot_billing_async.table.planning.planner import Ask, query_of
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.report import Books
from spot_billing_async.table.scope import AUTO, Scope
from spot_billing_async.table.slices import carries_no_day

Progress = Callable[[int, int], None]
"""Is told, on the event loop, how many days are done and how many there are."""


class Writing:
    """Takes what comes into the table.

    Args:
        client: knows the server's rate limit.
        scope: what the table is to hold.
        widths: know what the server bears.
        batch: collects and commits.
        books: what becomes of each day.
        progress: is told how far it is.
    """

    def __init__(
        self,
        client: TenantClient,
        scope: Scope,
        widths: WindowSizer,
        batch: Batch,
        books: Books,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._scope = scope
        self._widths = widths
        self._batch = batch
        self._books = books
        self._progress = progress

    async def take(self, ask: Ask, answer: Fetched[CostItem]) -> Sequence[int] | None:
        """Take an answer in; days of it that cannot be kept have failed."""
        is_auto = self._scope.window == AUTO
        if is_auto and ask.window.days > 1 and carries_no_day(answer.items):
            return None
        cut = await finished(self._batch.add, answer, datetime.now(UTC))
        for days, error in cut.spoilt:
            query = query_of(ask.account_id, days, self._scope.group_by)
            self.fail(Failed(query, error, answer.attempts, answer.elapsed_s), days.days)
        if self._batch.is_full:
            await self._commit()
        self._tell()
        return [rows for each in cut.slices for rows in each.entry.rows_by_day]

    def fail(self, failure: Failed, days: int) -> None:
        """Take note of days that failed."""
        self._books.failures.append(failure)
        self._books.failed_days += days
        self._tell()

    def leave(self, ask: Ask) -> None:
        """Take note of days that were not asked."""
        self._books.not_started_days += ask.window.days
        self._tell()

    async def end_round(self, report: PullReport) -> None:
        """Commit what is left, and count what was sent."""
        await self._commit()
        self._books.add_pull(report)

    async def _commit(self) -> None:
        await finished(self._batch.commit, self._widths.limits, self._client.costs.rate_limit)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._books.done_days, self._books.due_days)
