"""Outages of the API: the evidence of a credential's requests, and the delay of its pulls."""

from collections.abc import Hashable

from spot_billing_async._core.http.retry import is_retryable
from spot_billing_async._core.http.shared import SharedState
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.pacing.outage import ORIGIN, Scope
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.request import Request
from spot_billing_async.errors import (
    ApiError,
    AuthenticationError,
    DecodeError,
    OutageError,
    RateLimitedError,
    ServerError,
    SpotBillingError,
    TransportError,
)


class Health:
    """Health of the API as one credential sees it."""

    def __init__(self, shared: SharedState, namespace: str, credential_key: Hashable) -> None:
        self._shared = shared
        self._outages = shared.outages
        self._max_attempts = shared.config.retry.max_attempts
        self._clock = shared.clock
        self._namespace = namespace
        self._token: Scope = ("token", None, credential_key)

    def scopes(self, operation: Operation) -> tuple[Scope, Scope, Scope]:
        """Return the scopes of the outages that an operation may meet."""
        return ORIGIN, ("operation", operation.operation_id, self._namespace), self._token

    def require_open(self, operation: Operation, counts: RequestCounts) -> None:
        """Raise `OutageError` for a pull's request while the API is away, unless it is a probe."""
        if not self._outages.by_scope or not counts.is_in_pull:
            return
        # A probe is one request: it is not sent again before the next one is due.
        is_first = counts.is_probe and counts.requests == counts.refusals
        if not is_first and self._outages.is_closed(self.scopes(operation)):
            raise OutageError(f"{operation.operation_id}: not sent, as the API is unavailable")

    def note(
        self, request: Request, failure: BaseException | None, sent_s: float, fault: str
    ) -> None:
        """Record what the end of a request that was sent at `sent_s` says.

        A cancelled request says nothing, nor does one that was not sent, one whose kept connection
        had died, one for which too many files were open, or one that the client's end cut off.
        """
        outages = self._outages
        if (failure is None and not outages.by_scope) or fault in {"stale", "no files"}:
            return
        if failure is not None and not isinstance(failure, TransportError | ApiError | DecodeError):
            return
        if self._shared.transport.session is None:
            return
        _, operation, _ = self.scopes(request.operation)
        outages.on_success(self._token, sent_s)
        if isinstance(failure, TransportError):
            if is_retryable(failure):
                outages.on_failure(ORIGIN, request.url, failure, sent_s)
            return
        outages.on_success(ORIGIN, sent_s)
        if isinstance(failure, ServerError):
            outages.on_failure(operation, request.url, failure, sent_s)
        # A proxy may refuse requests, by their number or their token, while the API is away.
        elif not isinstance(failure, RateLimitedError | AuthenticationError):
            outages.on_success(operation, sent_s)

    def note_no_token(self, request: Request, error: BaseException, asked_s: float) -> None:
        """Record that the token provider, which was asked at `asked_s`, has failed."""
        if isinstance(error, TransportError):
            self._outages.on_failure(self._token, request.url, error, asked_s)

    def hold_back(
        self,
        failure: SpotBillingError,
        operation: Operation,
        counts: RequestCounts,
        *,
        is_last: bool,
    ) -> None:
        """Decide whether an outage is to blame for a failed attempt, which may be the last one.

        Raises:
            OutageError: it is; the slice of a pull is to be fetched after it.
        """
        if not isinstance(failure, TransportError | ServerError):
            return
        outage, now_s = self._outages.worst(self.scopes(operation)), self._clock()
        if outage is None:
            return
        # A slice that fails for good, with no success in between, may not be at fault.
        is_doubtful = is_last and (
            outage.failures >= max(2, counts.failed_attempts)
            or getattr(failure, "retry_after_s", None)
        )
        # One that was sent after a success, and failed again, is.
        is_at_fault = counts.was_held_back and counts.failed_attempts >= self._max_attempts
        if counts.is_in_pull and (outage.is_closed or is_doubtful) and not is_at_fault:
            outage.suspect(now_s)
            self._outages.notify()
            raise OutageError(f"{operation.operation_id}: the API is unavailable") from failure
        if is_last and outage.is_closed:
            failure.add_note(f"the API has been unavailable for {now_s - outage.since_s:.1f} s")
