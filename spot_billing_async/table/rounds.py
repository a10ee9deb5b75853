"""Asks round by round what the agenda says, and tells it how each window ended."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from anyio.to_thread import run_sync

from spot_billing_async.bulk.outcome import Failed, Fetched
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import DecodeError, RequestLimitReachedError
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem, CostQuery
from spot_billing_async.table.agenda import Agenda, Ask
from spot_billing_async.table.batch import Batch
from spot_billing_async.table.books import Books
from spot_billing_async.table.compare import Known
from spot_billing_async.table.due import may_be_too_wide, too_wide
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import carries_no_day
from spot_billing_async.table.store import TableStore
from spot_billing_async.table.widths import Limits

Progress = Callable[[int, int], None]
"""Is told, on the event loop, how many days are done and how many there are."""


class Rounds:
    """Asks, and hands what comes to the batch.

    A 5xx may mean that a window is too wide, or that the server is in trouble. It is the window
    where others are answered meanwhile. Where nothing is, one window is halved until it is a day;
    if that fails as well it is the server's trouble, and the others are asked as they are.

    Args:
        client: asks.
        store: takes the batches.
        scope: what the table is to hold.
        agenda: what is to be asked.
        known: what the ledger knows of what is asked again.
        books: what becomes of each day.
        batch_requests: answers of a commit at most.
        progress: is told how far it is.

    Attributes:
        requests_left: requests that may still be sent; None for any number.
    """

    requests_left: int | None

    def __init__(
        self,
        client: TenantClient,
        store: TableStore,
        scope: Scope,
        agenda: Agenda,
        known: Known,
        books: Books,
        batch_requests: int,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._batch = Batch(store, scope, known, books, batch_requests)
        self._scope = scope
        self._agenda = agenda
        self._books = books
        self._progress = progress
        self._suspects: list[tuple[Ask, Failed]] = []
        self._got_any = False
        self._is_dead = False

    async def run(self, max_requests: int | None) -> None:
        """Ask for everything, and commit all that comes."""
        self.requests_left = max_requests
        while self.requests_left != 0 and (asks := await run_sync(self._agenda.next_round)):
            await self._round(asks)
            self._judge_suspects()
        self._books.not_started_days += sum(ask.window.days for ask in self._agenda.left())

    async def _round(self, asks: Sequence[Ask]) -> None:
        """Ask for some windows."""
        self._got_any = False
        by_query = {self._query(ask): ask for ask in asks}
        pull = self._client.costs.pull(list(by_query), max_requests=self.requests_left)
        async with pull as run:
            async for outcome in run:
                await self._take(by_query[outcome.query], outcome)
                if self._progress is not None:
                    self._progress(self._books.done_days, self._books.due_days)
            await run_sync(self._batch.commit, self._client.costs.rate_limit)
        self._books.add_pull(run.report)
        if self.requests_left is not None:
            self.requests_left -= run.report.requests

    def _query(self, ask: Ask) -> CostQuery:
        return CostQuery(
            account_id=ask.account_id,
            from_date=ask.window.from_date,
            to_date=ask.window.to_date,
            group_by=self._scope.group_by,
        )

    async def _take(self, ask: Ask, outcome: Fetched[CostItem] | Failed) -> None:
        """Take an outcome."""
        widths = self._agenda.widths
        if isinstance(outcome, Failed):
            self._judge(ask, outcome)
            return
        self._got_any = True
        if widths is not None and ask.window.days > 1 and carries_no_day(outcome.items):
            self._agenda.carry_no_day(ask, widths)
            return
        limits = Limits() if widths is None else widths.limits(ask.account_id)
        try:
            rows_by_day = await run_sync(self._batch.add, outcome, limits, datetime.now(UTC))
        except (DecodeError, ExportError) as error:
            failure = Failed(outcome.query, error, outcome.attempts, outcome.elapsed_s)
            self._fail(ask, failure)
            return
        if widths is not None:
            widths.answered(ask.account_id, rows_by_day)
        if self._batch.is_full:
            await run_sync(self._batch.commit, self._client.costs.rate_limit)

    def _judge(self, ask: Ask, failure: Failed) -> None:
        if isinstance(failure.error, RequestLimitReachedError) and not failure.attempts:
            self._books.not_started_days += ask.window.days
        elif self._agenda.widths is not None and may_be_too_wide(failure.error):
            self._suspects.append((ask, failure))
        elif not (too_wide(failure.error) and self._agenda.too_wide(ask)):
            self._fail(ask, failure)

    def _judge_suspects(self) -> None:
        """Decide whether windows that met a 5xx were too wide for a server that works."""
        if self._got_any:
            self._is_dead = False
            self._settle(len(self._suspects), is_width=True)
        elif self._is_dead:
            self._settle(len(self._suspects), is_width=False)
        elif self._suspects:
            self._is_dead = self._suspects[-1][0].window.days == 1
            self._settle(1, is_width=True)
            if self._is_dead:
                self._settle(len(self._suspects), is_width=False)

    def _settle(self, count: int, *, is_width: bool) -> None:
        """The last suspects are asked in halves, or have failed."""
        for _ in range(count):
            ask, failure = self._suspects.pop()
            if not (is_width and self._agenda.too_wide(ask)):
                self._fail(ask, failure)

    def _fail(self, ask: Ask, failure: Failed) -> None:
        """Book a failure, and what fails with it."""
        for window in self._agenda.failed(ask):
            query = self._query(ask._replace(window=window))
            self._books.failures.append(
                Failed(query, failure.error, failure.attempts, failure.elapsed_s)
            )
            self._books.failed_days += window.days
