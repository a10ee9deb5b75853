"""Carried out of spot_billing_async/telemetry.py."""

from collections.abc import Callable, Mapping
from itertools import count

from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.telemetry import CallEnded, Phase, Phases, RequestEnded

_call_ids = count(1)


class CallRecord:
    """The books of one call while it runs.

    Args:
        tally: counts what it sends.
        clock: None where nobody is to be told: then its time is not kept.

    Attributes:
        call_id: its number in this process.
        tally: what it sent.
        met: what went wrong, in order, as `SpotBillingError.attempt_errors` has it.
        phases: where its time went so far.
        received_bytes: what came of bodies so far, as it crossed the wire.
    """

    __slots__ = (
        "_clock",
        "_marked_s",
        "_told_bytes",
        "attempt_errors",
        "call_id",
        "phases",
        "received_bytes",
        "started_s",
        "tally",
    )

    def __init__(self, tally: RequestCounts, clock: Callable[[], float] | None = None) -> None:
        self.tally = tally
        self.attempt_errors: list[str] = []
        self.received_bytes = self._told_bytes = 0
        self._clock = clock
        if clock is not None:
            self.call_id = next(_call_ids)
            self.phases = Phases()
            self.started_s = self._marked_s = clock()

    def lap(self, phase: Phase) -> None:
        """Book the time since the last lap to the phase that ends now."""
        if self._clock is None:
            return
        now_s = self._clock()
        setattr(self.phases, phase, getattr(self.phases, phase) + now_s - self._marked_s)
        self._marked_s = now_s

    def failed(self, error: BaseException) -> str:
        """Tell an error what the call met before it; the name of its class."""
        name = type(error).__name__
        if isinstance(error, SpotBillingError):
            error.attempts = self.tally.requests
            own = f"{name}: {error}"
            error.attempt_errors = tuple(
                self.attempt_errors
                if self.attempt_errors[-1:] == [own]
                else [*self.attempt_errors, own]
            )
        return name

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
        """The event of the end of this call's last request; of each request once."""
        received_bytes = self.received_bytes - self._told_bytes
        self._told_bytes = self.received_bytes
        return RequestEnded(
            operation_id=operation_id,
            call_id=self.call_id,
            number=self.tally.requests,
            method=method,
            url=url,
            url_template=url_template,
            started_s=started_s,
            elapsed_s=elapsed_s,
            status=status,
            received_bytes=received_bytes,
            error=None if error is None else type(error).__name__,
        )

    def ended(
        self,
        operation_id: str,
        error: str | None,
        *,
        parameters: Mapping[str, str | None],
        rows: int,
    ) -> CallEnded:
        """The event of this call's end, which is at the last lap."""
        return CallEnded(
            operation_id=operation_id,
            call_id=self.call_id,
            parameters={k: v for k, v in parameters.items() if v is not None},
            started_s=self.started_s,
            elapsed_s=self._marked_s - self.started_s,
            phases=self.phases,
            requests=self.tally.requests,
            retries=self.tally.retries,
            refusals=self.tally.refusals,
            received_bytes=self.received_bytes,
            rows=rows,
            error=error,
        )
