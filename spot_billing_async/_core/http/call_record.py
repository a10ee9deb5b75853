"""Counts, errors and times of one call while it runs, and its telemetry events."""

from collections.abc import Callable, Mapping
from itertools import count

from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.errors import ON_KEPT_CONNECTION, DeadlineExceededError, SpotBillingError
from spot_billing_async.telemetry import (
    CallEnded,
    Hook,
    MismatchKind,
    Phase,
    Phases,
    RequestEnded,
    emit,
)

_call_ids = count(1)


class CallRecord:
    """Record of one call. Without a hook it keeps no times, and only `complete` may be called."""

    # State of the present attempt. Of the class, as most calls set few of them.
    is_kept: bool = False  # it waits on a connection that served another request
    needs_new: bool = False  # it must not use a kept connection
    silent_s: float = 0.0  # for which nothing has arrived; negative until it is connected
    seen_bytes: int = 0  # of its body
    body: object = None  # aiohttp's stream of it, once the head has arrived
    is_last: bool = False  # of the request, if it fails
    timeouts: int = 0  # earlier attempts of the request that were silent for too long
    # Why the last attempt may be repeated outside the ordinary retries.
    fault: str = ""  # "stale", "silent" or "no files"

    def __init__(
        self, counts: RequestCounts, hook: Hook | None, clock: Callable[[], float]
    ) -> None:
        self.counts: RequestCounts = counts
        self.attempt_errors: list[str] = []  # in order, as `SpotBillingError.attempt_errors`
        self.received_bytes: int = 0  # of bodies, as they crossed the wire
        self.is_timed: bool = hook is not None
        if hook is not None:
            self._hook = hook
            self._clock = clock
            self._reported_bytes = 0
            self.call_id: int = next(_call_ids)  # in this process
            self.phases: Phases = Phases()
            self.started_s: float = clock()
            self._marked_s = self.started_s

    def lap(self, phase: Phase) -> None:
        """Add the time since the last lap to the phase that ends now."""
        now_s = self._clock()
        setattr(self.phases, phase, getattr(self.phases, phase) + now_s - self._marked_s)
        self._marked_s = now_s

    def add_failure(self, error: SpotBillingError) -> None:
        """Add the error of an attempt."""
        self.attempt_errors.append(f"{type(error).__name__}: {error}")

    def complete(self, error: SpotBillingError) -> None:
        """Add the number of requests and the errors of all attempts to the call's error."""
        error.attempts = self.counts.requests
        own = f"{type(error).__name__}: {error}"
        if self.is_kept and isinstance(error, DeadlineExceededError):
            own += ON_KEPT_CONNECTION
        if self.attempt_errors[-1:] != [own]:
            self.attempt_errors.append(own)
        error.attempt_errors = tuple(self.attempt_errors)

    def request_ended(
        self,
        request: Request,
        url_template: str,
        *,
        started_s: float,
        elapsed_s: float,
        status: int | None,
        error: BaseException | None,
        mismatches: tuple[MismatchKind, ...],
    ) -> None:
        """Send the event for the end of this call's last request; call it once per request."""
        event = RequestEnded(
            operation_id=request.operation.operation_id,
            call_id=self.call_id,
            number=self.counts.requests,
            method=request.operation.method,
            url=request.url,
            url_template=url_template,
            started_s=started_s,
            elapsed_s=elapsed_s,
            status=status,
            received_bytes=self.received_bytes - self._reported_bytes,
            error=None if error is None else type(error).__name__,
            mismatches=mismatches,
        )
        self._reported_bytes = self.received_bytes
        emit(self._hook, event)

    def call_ended(
        self,
        operation_id: str,
        error: str | None,
        *,
        parameters: Mapping[str, str | None],
        rows: int,
    ) -> None:
        """Send the event for the end of this call; the time since the last lap was queueing."""
        self.lap("queued_s")
        event = CallEnded(
            operation_id=operation_id,
            call_id=self.call_id,
            parameters={k: v for k, v in parameters.items() if v is not None},
            started_s=self.started_s,
            elapsed_s=self._marked_s - self.started_s,
            phases=self.phases,
            requests=self.counts.requests,
            retries=self.counts.retries,
            refusals=self.counts.refusals,
            mismatches=self.counts.mismatches,
            received_bytes=self.received_bytes,
            rows=rows,
            error=error,
        )
        emit(self._hook, event)
