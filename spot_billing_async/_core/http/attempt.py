"""Limit of one attempt: an estimate of its time to the first byte, and a watch that applies it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from functools import lru_cache
from math import inf

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.protocol.error_mapping import FIRST_ERROR_STATUS
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import Response
from spot_billing_async.errors import TransportError

_LEAST_S = 5.0
_MARGIN = 4.0  # times the estimate: a retry of a slow response makes a busy server slower
_TICK_S = 0.25


class FirstByteEstimate:
    """Estimate of the time to the first byte of each operation, as TCP estimates round trips.

    The time is taken to grow in proportion to the days of the query, and not to shrink with them.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, float, float]] = {}  # mean, deviation, mean of the days

    def add(self, request: Request, waited_s: float) -> None:
        """Record the time to the first byte of a response."""
        operation_id, days = request.operation.operation_id, _days_of(request)
        mean, deviation, usual_days = self._known.get(
            operation_id, (waited_s, waited_s / 2, float(days))
        )
        self._known[operation_id] = (
            mean + (waited_s - mean) / 8,
            deviation + (abs(waited_s - mean) - deviation) / 4,
            usual_days + (days - usual_days) / 8,
        )

    def limit_s(self, request: Request, *, timeouts: int, given_s: float) -> float:
        """Return after how many seconds an attempt is given up; infinite for never.

        `timeouts` are the earlier ones of the same query, and `given_s` is the time from the
        attempt's start to the call's deadline: the next attempt gets no less than this one had.
        """
        mean, deviation, usual_days = self._known.get(
            request.operation.operation_id, (inf, 0.0, 1.0)
        )
        expected_s = _MARGIN * (mean + 4 * deviation) * max(1.0, _days_of(request) / usual_days)
        limit_s = max(_LEAST_S, 0.0 if mean == inf else expected_s) * 2.0**timeouts
        if limit_s <= given_s / 2:
            return limit_s
        return given_s / 2 if expected_s <= given_s / 2 and not timeouts else inf


def _days_of(request: Request) -> int:
    """Return the number of days that a request asks for; 1 for a request without days."""
    return _days(request.parameters.get("fromDate"), request.parameters.get("toDate"))


@lru_cache(maxsize=4096)
def _days(from_date: str | None, to_date: str | None) -> int:
    if from_date is None or to_date is None:
        return 1
    return (date.fromisoformat(to_date) - date.fromisoformat(from_date)).days + 1


class AttemptWatch:
    """Watch over the attempts in flight, which ends those that are silent for too long.

    One timer looks at all of them, as a timer per attempt takes a share of a small call. It counts
    its own looks, not the time: nothing can arrive while the event loop is blocked.

    Args:
        timeout_s: limit of every attempt; None estimates it.
        clock: the clock of the deadlines.
        take_retry: takes a retry from the budget; an attempt goes on while there is none.
    """

    def __init__(
        self, timeout_s: float | None, clock: Callable[[], float], take_retry: Callable[[], bool]
    ) -> None:
        self.estimate: FirstByteEstimate = FirstByteEstimate()
        self._timeout_s = timeout_s
        self._tick_s = min(_TICK_S, _TICK_S if timeout_s is None else timeout_s / 4)
        self._clock = clock
        self._take_retry = take_retry
        self._running: dict[CallRecord, tuple[Request, Deadline]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def limited(
        self,
        exchange: Awaitable[Response],
        request: Request,
        record: CallRecord,
        deadline: Deadline | None,
    ) -> Response:
        """Await the response of an attempt; without a deadline, it may not be repeated.

        Raises:
            TransportError: the attempt was silent for too long.
        """
        if deadline is not None:
            self._running[record] = request, deadline
            if self._timer is None:
                self._timer = deadline.loop.call_later(self._tick_s, self._look)
        try:
            response = await exchange
        except BaseException as error:
            if deadline is None or record.fault != "silent":
                raise
            # Race: the caller, or the deadline, may have cancelled the task as well.
            is_ours = deadline.task.uncancel() <= record.cancels_before
            if not (is_ours and isinstance(error, asyncio.CancelledError)):
                record.fault = ""
                raise
            record.timeouts += 1
            problem = f"no byte of a response within {record.silent_s:.3g} s"
            raise TransportError(problem) from None
        finally:
            self._running.pop(record, None)
        if response.status < FIRST_ERROR_STATUS:
            self.estimate.add(request, response.waited_s)
        return response

    def _look(self) -> None:
        self._timer = None
        for record, (request, deadline) in self._running.items():
            self._timer = self._timer or deadline.loop.call_later(self._tick_s, self._look)
            received = 0 if record.body is None else record.body.total_bytes
            if received != record.seen_bytes:
                record.seen_bytes, record.silent_s = received, 0.0
                continue
            record.silent_s += self._tick_s
            given_s = deadline.ends_at_s - self._clock() + record.silent_s
            limit_s = self._timeout_s or self.estimate.limit_s(
                request, timeouts=record.timeouts, given_s=given_s
            )
            is_over = record.silent_s >= limit_s and record.fault != "silent"
            if is_over and self._take_retry():
                record.fault, record.cancels_before = "silent", deadline.task.cancelling()
                deadline.task.cancel()
