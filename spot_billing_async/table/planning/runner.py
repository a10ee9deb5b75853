"""Runner of a plan: requests its slices in rounds, and reports each outcome to the planner."""

from collections.abc import Sequence
from typing import Protocol

from anyio.to_thread import run_sync

from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import (
    ON_KEPT_CONNECTION,
    ApiError,
    DeadlineExceededError,
    DecodeError,
    OutageError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
)
from spot_billing_async.export import ExportError
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.table.ledger import SliceKey
from spot_billing_async.table.planning.planner import Planner

_CONTENT_TOO_LARGE = 413


class SliceHandler(Protocol):
    """Handler of the outcomes of slices."""

    async def on_fetched(self, key: SliceKey, fetched: Fetched[CostItem]) -> Sequence[int] | None:
        """Handle a response.

        Returns:
            The number of rows of each day; None if each day has to be requested alone.

        Raises:
            DecodeError, ExportError: the response is not usable; the slice has failed.
        """

    def on_failed(self, failure: Failed, days: int) -> None:
        """Handle the failure of a window of this number of days."""

    def on_not_started(self, key: SliceKey) -> None:
        """Handle a slice that was not requested."""

    async def on_round_end(self, report: PullReport) -> None:
        """Finish a round, after all its outcomes."""


class SliceRunner:
    """Runner that requests the slices of a plan and passes their outcomes to a handler.

    A 5xx or a missed deadline may mean that a window is too wide, or that the server is down. If
    other slices of the round are fetched, the window is taken to be too wide. If none is, one
    window is halved repeatedly down to a day. If that day fails too, the server is taken to be
    down, and windows are not narrowed until it answers again. A pull waits for an outage to end; if
    that takes too long, everything that is left fails.

    Args:
        client: the client that sends the requests.
        group_by: the breakdown.
        planner: the slices to request.
        handler: handles the outcomes.
        max_requests: maximum number of requests; None for no limit.
        outage: the outage that ended an earlier run; None if none did.

    Attributes:
        requests_left: requests that may still be sent; None for no limit.
        outage: the outage for whose end was waited in vain.
    """

    def __init__(
        self,
        client: TenantClient,
        group_by: GroupBy | None,
        planner: Planner,
        handler: SliceHandler,
        max_requests: int | None,
        outage: OutageError | None = None,
    ) -> None:
        self.requests_left = max_requests
        self.outage: OutageError | None = outage
        self._client = client
        self._group_by = group_by
        self._planner = planner
        self._handler = handler
        self._undecided: list[tuple[SliceKey, Failed]] = []
        self._round_has_response = False
        self._has_response = False
        self._is_down = False

    async def run(self) -> None:
        """Request all slices."""
        while (
            self.requests_left != 0
            and self.outage is None
            and (keys := await run_sync(self._planner.next_round))
        ):
            await self._run_round(keys)
            self._decide()
        # Undecided slices are left only if the request limit or an outage ended the rounds.
        self._settle(len(self._undecided), narrow=False)
        for key in self._planner.take_rest():
            if self.outage is None:
                self._handler.on_not_started(key)
            else:
                failure = Failed(key.query(self._group_by), self.outage, 0, 0.0)
                self._handler.on_failed(failure, key.window.days)

    async def _run_round(self, keys: Sequence[SliceKey]) -> None:
        self._round_has_response = False
        by_query = {key.query(self._group_by): key for key in keys}
        # Uncached: a table is brought in step with the API, not with the cache.
        pull = self._client.costs.uncached.pull(list(by_query), max_requests=self.requests_left)
        async with pull as run:
            async for outcome in run:
                key = by_query[outcome.query]
                if isinstance(outcome, Failed):
                    self._on_failed(key, outcome)
                else:
                    await self._on_fetched(key, outcome)
            await self._handler.on_round_end(run.report)
        if self.requests_left is not None:
            self.requests_left -= run.report.requests

    async def _on_fetched(self, key: SliceKey, fetched: Fetched[CostItem]) -> None:
        self._round_has_response = self._has_response = True
        self._is_down = False
        try:
            rows_by_day = await self._handler.on_fetched(key, fetched)
        except (DecodeError, ExportError) as error:
            self._fail(key, Failed(fetched.query, error, fetched.attempts, fetched.elapsed_s))
            return
        if rows_by_day is None:
            self._planner.narrow_to_days(key)
        else:
            self._planner.on_fetched(key, rows_by_day)

    def _on_failed(self, key: SliceKey, failure: Failed) -> None:
        error = failure.error
        if isinstance(error, OutageError):
            self.outage = error
        if isinstance(error, RequestLimitReachedError) and not failure.attempts:
            self._handler.on_not_started(key)
        elif self._planner.learns and may_be_too_wide(error):
            self._undecided.append((key, failure))
        elif self._is_down or not (is_too_wide(error) and self._planner.narrow(key)):
            # A single day that is too wide, before any response: no window would be accepted.
            self._is_down = self._is_down or (is_too_wide(error) and not self._has_response)
            self._fail(key, failure)

    def _decide(self) -> None:
        """Decide whether the undecided slices were too wide or the server is down."""
        if self._round_has_response:
            self._settle(len(self._undecided), narrow=True)
        elif self._is_down:
            self._settle(len(self._undecided), narrow=False)
        elif self._undecided:
            # Only one window is halved; the others wait for its outcome.
            self._is_down = self._undecided[-1][0].window.days == 1
            self._settle(1, narrow=True)
            if self._is_down:
                self._settle(len(self._undecided), narrow=False)

    def _settle(self, count: int, *, narrow: bool) -> None:
        """Put the last undecided slices back in narrower windows, or pass on their failures."""
        for _ in range(count):
            key, failure = self._undecided.pop()
            if not (narrow and self._planner.narrow(key)):
                self._fail(key, failure)

    def _fail(self, key: SliceKey, failure: Failed) -> None:
        """Pass on a failure for every window that fails with a slice."""
        # Errors of the API concern all windows of an account; others concern this window alone.
        fails_account = isinstance(failure.error, ApiError) or is_too_wide(failure.error)
        for window in self._planner.on_failed(key, fails_account=fails_account):
            query = SliceKey(key.account_id, window).query(self._group_by)
            failed = Failed(query, failure.error, failure.attempts, failure.elapsed_s)
            self._handler.on_failed(failed, window.days)


def is_too_wide(error: SpotBillingError) -> bool:
    """Return whether a slice failed because its window is too wide."""
    if isinstance(error, ApiError):
        return error.status == _CONTENT_TOO_LARGE
    return isinstance(error, ResponseTooLargeError)


def may_be_too_wide(error: SpotBillingError) -> bool:
    """Return whether the window may be too wide, or the server down: a 5xx or a missed deadline."""
    if isinstance(error, DeadlineExceededError):
        # Not if the time was spent waiting for the quota, or on a connection that may be dead.
        return not any(
            each.startswith("RateLimitedError") or ON_KEPT_CONNECTION in each
            for each in error.attempt_errors
        )
    return isinstance(error, ServerError)
