"""Limit of one attempt: an estimate of its time to the first byte, and a watch that applies it."""

import asyncio
from collections.abc import Awaitable
from datetime import date
from math import inf

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.retry import RetryBudget
from spot_billing_async._core.pacing.outage import ORIGIN, Outages
from spot_billing_async._core.protocol.error_mapping import FIRST_ERROR_STATUS
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import Response
from spot_billing_async.errors import TransportError

_MARGIN = 4.0  # a busy server that is asked again becomes slower
_TICK_S = 0.25


class FirstByteEstimate:
    """Estimate of the time to the first byte of each operation, as TCP estimates round trips.

    The time is taken to grow in proportion to the days of the query, and not to shrink with them.
    `least_s` is the shortest limit.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._known: dict[str, tuple[float, float, float]] = {}  # mean, deviation, mean of the days

    def add(self, request: Request, waited_s: float) -> None:
        """Record the time to the first byte of a response."""
        operation_id, days = request.operation.operation_id, _days_of(request)
        first = waited_s, waited_s / 2, float(days)
        mean, deviation, usual = self._known.get(operation_id, first)
        deviation += (abs(waited_s - mean) - deviation) / 4
        mean, usual = mean + (waited_s - mean) / 8, usual + (days - usual) / 8
        self._known[operation_id] = mean, deviation, usual

    def limit_s(self, request: Request, timeouts: int, given_s: float) -> float:
        """Return after how many seconds of `given_s` to give up an attempt; infinite if never.

        `timeouts` are those of the request so far. The next attempt has at least as much time.
        """
        known = self._known.get(request.operation.operation_id)
        mean, deviation, usual = known or (0.0, 0.0, 1.0)
        expected_s = _MARGIN * (mean + 4 * deviation) * max(1.0, _days_of(request) / usual)
        limit_s = max(self._least_s, expected_s) * 2.0**timeouts
        if limit_s <= given_s / 2:
            return limit_s
        # The deadline is near. Only if others were answered sooner is this one worth a new attempt.
        return given_s / 2 if known and not timeouts and expected_s <= given_s / 2 else inf


def _days_of(request: Request) -> int:
    first, last = (request.parameters.get(name) for name in ("fromDate", "toDate"))
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1 if first and last else 1


class AttemptWatch:
    """Watch over the attempts in flight, which ends those that receive nothing for too long.

    One timer looks at all: a timer each takes a share of a small call. It counts its looks, as
    nothing arrives while the event loop is blocked. Without a retry in the budget, attempts go on;
    but those of pulls end while the API is away, as they are not sent again before it is back.
    """

    def __init__(self, config: ClientConfig, budget: RetryBudget, outages: Outages) -> None:
        self._budget = budget
        self._outages = outages
        self._tick_s = min(_TICK_S, config.attempt_timeout_s / 4)
        self._estimate = FirstByteEstimate(config.attempt_timeout_s)
        self._is_due = True  # of fast responses, one per look is enough for the estimate
        self._running: dict[CallRecord, tuple[Request, Deadline, float]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def limited(
        self,
        exchange: Awaitable[Response],
        request: Request,
        record: CallRecord,
        deadline: Deadline,
        given_s: float,
    ) -> Response:
        """Await a response; raise `TransportError` after a silence, if a retry is left."""
        task = deadline.task
        cancels_before = task.cancelling()
        if request.operation.idempotent and not record.is_last:
            self._running[record] = request, deadline, given_s
            if self._timer is None:
                self._timer = task.get_loop().call_later(self._tick_s, self._look)
        try:
            response = await exchange
        except asyncio.CancelledError:
            # Race: the caller, or the deadline, may have cancelled the task as well.
            if record.fault != "silent" or task.uncancel() > cancels_before:
                raise
            record.timeouts += 1
            problem = f"no byte of a response within {record.silent_s:.3g} s"
            raise TransportError(problem) from None
        finally:
            self._running.pop(record, None)
        if (self._is_due or record.silent_s > 0) and response.status < FIRST_ERROR_STATUS:
            self._is_due = False
            self._estimate.add(request, response.waited_s)
        return response

    def _look(self) -> None:
        self._timer, self._is_due = None, True
        for record, (request, deadline, given_s) in self._running.items():
            self._timer = self._timer or deadline.task.get_loop().call_later(
                self._tick_s, self._look
            )
            received = getattr(record.body, "total_bytes", 0)
            record.silent_s = record.silent_s + self._tick_s if received == record.seen_bytes else 0
            record.seen_bytes = received
            limit_s = self._estimate.limit_s(request, record.timeouts, given_s)
            if record.silent_s < limit_s or record.fault == "silent":
                continue
            is_held_back = record.counts.is_in_pull and self._outages.is_closed([ORIGIN])
            if is_held_back or self._budget.take():
                record.fault = "silent"
                deadline.task.cancel()
