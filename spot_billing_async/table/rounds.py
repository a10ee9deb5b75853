"""Asks for windows round by round: what fails for its size comes again, narrower, in the next."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from anyio.to_thread import run_sync

from spot_billing_async.bulk.outcome import Failed, Fetched
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import DecodeError, RequestLimitReachedError, SpotBillingError
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem
from spot_billing_async.table.batch import Batch
from spot_billing_async.table.books import Books
from spot_billing_async.table.compare import Known
from spot_billing_async.table.due import (
    Ask,
    TableWindow,
    by_day,
    halved,
    may_be_too_wide,
    resumed,
    too_wide,
)
from spot_billing_async.table.scope import AUTO, Scope
from spot_billing_async.table.slices import carries_no_day
from spot_billing_async.table.store import TableStore

Progress = Callable[[int, int], None]
"""Is told, on the event loop, how many days are done and how many there are."""


class Rounds:
    """Asks, and hands what comes to the batch.

    Args:
        client: asks.
        store: takes the batches.
        scope: what the table is to hold.
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
        known: Known,
        books: Books,
        batch_requests: int,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._batch = Batch(store, scope, known, books, batch_requests)
        self._window: TableWindow = scope.window
        self._books = books
        self._progress = progress
        self._suspects: list[tuple[Ask, Failed]] = []
        self._got_any = False

    async def run(self, asks: Sequence[Ask], max_requests: int | None) -> None:
        """Ask for everything, and commit all that comes."""
        self.requests_left = max_requests
        todo = list(asks)
        while todo or self._suspects:
            todo = await self._round(todo or self._doubted())
            if self._got_any:  # the server works: what it fails on alone may be too wide for it
                todo += [half for suspect in self._suspects for half in self._narrower(*suspect)]
                self._suspects = []

    async def _round(self, asks: Sequence[Ask]) -> list[Ask]:
        """Ask for some windows; what is to be asked next."""
        self._got_any = False
        by_query = {ask.query: ask for ask in asks}
        if self.requests_left == 0:
            self._books.not_started_days += sum(ask.whole.days for ask in asks)
            return []
        following: list[Ask] = []
        pull = self._client.costs.pull(list(by_query), max_requests=self.requests_left)
        async with pull as run:
            async for outcome in run:
                following += await self._take(by_query[outcome.query], outcome)
                if self._progress is not None:
                    self._progress(self._books.done_days, self._books.due_days)
            await run_sync(self._batch.commit)
        self._books.add_pull(run.report)
        if self.requests_left is not None:
            self.requests_left -= run.report.requests
        return following

    async def _take(self, ask: Ask, outcome: Fetched[CostItem] | Failed) -> list[Ask]:
        """Take an outcome; what it leads to."""
        if isinstance(outcome, Failed):
            return self._judge(ask, outcome)
        self._got_any = True
        if self._window == AUTO and ask.window.days > 1 and carries_no_day(outcome.items):
            return by_day(ask)
        try:
            await run_sync(self._batch.add, outcome, ask.widest_days, datetime.now(UTC))
        except (DecodeError, ExportError) as error:
            return self._fail(ask, _failed(outcome, error))
        if self._batch.is_full:
            await run_sync(self._batch.commit)
        return resumed(ask)

    def _judge(self, ask: Ask, failure: Failed) -> list[Ask]:
        if isinstance(failure.error, RequestLimitReachedError) and not failure.attempts:
            self._books.not_started_days += ask.whole.days
            return []
        if self._window == AUTO and too_wide(failure.error):
            return self._narrower(ask, failure)
        if self._window == AUTO and may_be_too_wide(failure.error):
            self._suspects.append((ask, failure))
            return []
        return self._fail(ask, failure)

    def _doubted(self) -> list[Ask]:
        """Nothing was answered: half of one window finds out whether it is the server's trouble."""
        ask, failure = self._suspects.pop()
        narrower = self._narrower(ask, failure)
        if not narrower:
            for suspect in self._suspects:
                self._fail(*suspect)
            self._suspects = []
        return narrower

    def _narrower(self, ask: Ask, failure: Failed) -> list[Ask]:
        half = halved(ask)
        return [half] if half is not None else self._fail(ask, failure)

    def _fail(self, ask: Ask, failure: Failed) -> list[Ask]:
        """Book a failure; what was kept back fails with it."""
        query = ask._replace(window=ask.whole).query
        self._books.failures.append(msgspec.structs.replace(failure, query=query))
        self._books.failed_days += ask.whole.days
        return []


def _failed(outcome: Fetched[CostItem], error: SpotBillingError) -> Failed:
    return Failed(outcome.query, error, outcome.attempts, outcome.elapsed_s)
