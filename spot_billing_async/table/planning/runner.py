"""Asks round by round what the agenda says, and tells it how each window ended."""

from collections.abc import Sequence
from typing import Protocol

from anyio.to_thread import run_sync

from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import (
    ApiError,
    DeadlineExceededError,
    DecodeError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
)
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.table.planning.planner import Ask, Planner, query_of

_TOO_LARGE = 413


class Taker(Protocol):
    """Takes what the rounds bring."""

    async def take(self, ask: Ask, answer: Fetched[CostItem]) -> Sequence[int] | None:
        """Take an answer; the rows of each day. None asks for each day alone.

        Raises:
            DecodeError, ExportError: it is of no use; the window has failed.
        """

    def fail(self, failure: Failed, days: int) -> None:
        """Take note of a window of so many days that failed."""

    def leave(self, ask: Ask) -> None:
        """Take note of a window that was not asked."""

    async def end_round(self, report: PullReport) -> None:
        """All that was asked in this round has been taken."""


class Rounds:
    """Asks, and hands on what comes.

    A 5xx, or no answer in time, may mean that a window is too wide, or that the server is in
    trouble. It is the window where others are answered meanwhile. Where nothing is, one window is
    halved until it is a day; if that fails as well it is the server's trouble, and the others are
    asked as they are.

    Args:
        client: asks.
        group_by: the breakdown.
        agenda: what is to be asked.
        taker: takes what comes.
        max_requests: requests sent at most; None for any number.

    Attributes:
        requests_left: requests that may still be sent; None for any number.
    """

    def __init__(
        self,
        client: TenantClient,
        group_by: GroupBy | None,
        agenda: Planner,
        taker: Taker,
        max_requests: int | None,
    ) -> None:
        self.requests_left = max_requests
        self._client = client
        self._group_by = group_by
        self._agenda = agenda
        self._taker = taker
        self._suspects: list[tuple[Ask, Failed]] = []
        self._got_any = False  # in this round
        self._got_ever = False
        self._is_dead = False

    async def run(self) -> None:
        """Ask for everything."""
        while self.requests_left != 0 and (asks := await run_sync(self._agenda.next_round)):
            await self._round(asks)
            self._judge_suspects()
        self._settle(len(self._suspects), is_width=False)
        for ask in self._agenda.left():
            self._taker.leave(ask)

    async def _round(self, asks: Sequence[Ask]) -> None:
        """Ask for some windows."""
        self._got_any = False
        by_query = {query_of(ask.account_id, ask.window, self._group_by): ask for ask in asks}
        costs = self._client.costs.uncached  # a table is brought in step with the API
        pull = costs.pull(list(by_query), max_requests=self.requests_left)
        async with pull as run:
            async for outcome in run:
                ask = by_query[outcome.query]
                if isinstance(outcome, Failed):
                    self._judge(ask, outcome)
                else:
                    await self._take(ask, outcome)
            await self._taker.end_round(run.report)
        if self.requests_left is not None:
            self.requests_left -= run.report.requests

    async def _take(self, ask: Ask, answer: Fetched[CostItem]) -> None:
        self._got_any = self._got_ever = True
        self._is_dead = False
        try:
            rows_by_day = await self._taker.take(ask, answer)
        except (DecodeError, ExportError) as error:
            self._fail(ask, Failed(answer.query, error, answer.attempts, answer.elapsed_s))
            return
        if rows_by_day is None:
            self._agenda.carry_no_day(ask)
        else:
            self._agenda.answered(ask, rows_by_day)

    def _judge(self, ask: Ask, failure: Failed) -> None:
        if isinstance(failure.error, RequestLimitReachedError) and not failure.attempts:
            self._taker.leave(ask)
        elif self._agenda.learns and may_be_too_wide(failure.error):
            self._suspects.append((ask, failure))
        elif self._is_dead or not (too_wide(failure.error) and self._agenda.too_wide(ask)):
            self._is_dead = self._is_dead or (too_wide(failure.error) and not self._got_ever)
            self._fail(ask, failure)

    def _judge_suspects(self) -> None:
        """Decide whether windows that met a 5xx were too wide for a server that works."""
        if self._got_any:
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
        """Hand a failure on, and what fails with it."""
        for window in self._agenda.failed(ask, is_account=is_of_account(failure.error)):
            query = query_of(ask.account_id, window, self._group_by)
            failed = Failed(query, failure.error, failure.attempts, failure.elapsed_s)
            self._taker.fail(failed, window.days)


def too_wide(error: SpotBillingError) -> bool:
    """Whether a window failed because it asks for too much at once."""
    match error:
        case ResponseTooLargeError():
            return True
        case ApiError(status=status):
            return status == _TOO_LARGE
        case _:
            return False


def may_be_too_wide(error: SpotBillingError) -> bool:
    """Whether it depends on others: a 5xx or no answer on this window alone, or on everything."""
    if isinstance(error, DeadlineExceededError):
        # Not where it was the quota that it waited for.
        return not any(met.startswith("RateLimitedError") for met in error.attempt_errors)
    return isinstance(error, ServerError)


def is_of_account(error: SpotBillingError) -> bool:
    """Whether the account's other days would fail as well: it is refused, whatever is asked."""
    return isinstance(error, ApiError) or too_wide(error)
