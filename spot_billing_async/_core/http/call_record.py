"""Counts, errors and times of one call while it runs, and the events made of them."""

from collections.abc import Callable, Mapping
from itertools import count

from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.telemetry import CallEnded, Phase, Phases, RequestEnded

_call_ids = count(1)


class CallRecord:
    """Record of one call.

    Args:
        counts: counts the requests that the call sends.
        clock: monotonic clock in seconds; None without a hook, which keeps no times.

    Attributes:
        is_timed: whether there is a hook. Without one, `lap` must not be called.
        call_id: number of the call in this process.
        counts: requests sent.
        attempt_errors: errors of the attempts in order, as `SpotBillingError.attempt_errors`.
        phases: time spent in each phase so far.
        received_bytes: bytes of bodies received so far, as they crossed the wire.
    """

    __slots__ = (
        "_clock",
        "_marked_s",
        "_reported_bytes",
        "attempt_errors",
        "call_id",
        "counts",
        "is_timed",
        "phases",
        "received_bytes",
        "started_s",
    )

    def __init__(self, counts: RequestCounts, clock: Callable[[], float] | None) -> None:
        self.counts = counts
        self.attempt_errors: list[str] = []
        self.received_bytes = 0
        self.is_timed = clock is not None
        if clock is not None:
            self._clock = clock
            self._reported_bytes = 0
            self.call_id = next(_call_ids)
            self.phases = Phases()
            self.started_s = self._marked_s = clock()

    def lap(self, phase: Phase) -> None:
        """Add the time since the last lap to the phase that ends now."""
        now_s = self._clock()
        setattr(self.phases, phase, getattr(self.phases, phase) + now_s - self._marked_s)
        self._marked_s = now_s

    def complete(self, error: SpotBillingError) -> None:
        """Add the number of requests and the errors of all attempts to the call's error."""
        error.attempts = self.counts.requests
        own = f"{type(error).__name__}: {error}"
        if self.attempt_errors[-1:] != [own]:
            self.attempt_errors.append(own)
        error.attempt_errors = tuple(self.attempt_errors)

    def request_ended(
        self,
        operation_id: str,
        *,
        method: str,
        url: str,
        url_template: str,
        started_s: float,
        elapsed_s: float,
        status: int | None,
        error: BaseException | None,
    ) -> RequestEnded:
        """Return the event for the end of this call's last request; call it once per request."""
        received_bytes = self.received_bytes - self._reported_bytes
        self._reported_bytes = self.received_bytes
        return RequestEnded(
            operation_id=operation_id,
            call_id=self.call_id,
            number=self.counts.requests,
            method=method,
            url=url,
            url_template=url_template,
            started_s=started_s,
            elapsed_s=elapsed_s,
            status=status,
            received_bytes=received_bytes,
            error=None if error is None else type(error).__name__,
        )

    def call_ended(
        self,
        operation_id: str,
        error: str | None,
        *,
        parameters: Mapping[str, str | None],
        rows: int,
    ) -> CallEnded:
        """Return the event for the end of this call, at the time of the last lap."""
        return CallEnded(
            operation_id=operation_id,
            call_id=self.call_id,
            parameters={k: v for k, v in parameters.items() if v is not None},
            started_s=self.started_s,
            elapsed_s=self._marked_s - self.started_s,
            phases=self.phases,
            requests=self.counts.requests,
            retries=self.counts.retries,
            refusals=self.counts.refusals,
            received_bytes=self.received_bytes,
            rows=rows,
            error=error,
        )
