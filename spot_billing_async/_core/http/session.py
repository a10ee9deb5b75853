"""Session manager: sends the requests of one credential until they are answered.

Errors are stripped here: no error that leaves `_attempt` has frames of the request, because their
variables hold headers and bodies.
"""

import random
from collections.abc import Hashable
from heapq import nsmallest
from typing import TypeVar
from urllib.parse import urlsplit

from spot_billing_async._core.aio.deadline import Deadline
from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.answers import TenantAnswers
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.health import Health
from spot_billing_async._core.http.retry import GiveUp, decide, is_retryable
from spot_billing_async._core.http.shared import SharedState
from spot_billing_async._core.pacing.abc import Limiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.comparison import compare
from spot_billing_async._core.protocol.decoder import ItemDecoder
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.pagination import Page
from spot_billing_async._core.protocol.rate_limit import RateLimit, read_quota
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import (
    Response,
    parse_large_response,
    parse_response,
)
from spot_billing_async.errors import (
    AuthenticationError,
    DeadlineExceededError,
    DecodeError,
    OutageError,
    RateLimitedError,
    SpotBillingError,
    TransportError,
    without_frames,
)

T = TypeVar("T")

_OVERLOADED = 503
_KEPT_VALUES = 4
_KEPT_CHARACTERS = 100
_QUICK_BYTES = 32 * 1024
"""Largest body that is decoded without waiting for a turn: it takes a tenth of a millisecond."""


class SessionManager:
    """Sender of one credential's requests, over the connections that all views share.

    Attributes:
        namespace: key under which the credential's quota and cached costs are kept.
        credential_key: key of the credential; others may have the same namespace.
    """

    def __init__(self, shared: SharedState, credential: Credential) -> None:
        self.shared: SharedState = shared
        self._credential = shared.unified(credential)
        self.namespace: str = self._credential.namespace
        self.credential_key: Hashable = self._credential.key
        self._limiters: dict[str, Limiter] = {}
        self._kept: set[str] = set()  # operations whose limiter is kept beyond this object
        self._answers: TenantAnswers | None = None
        self.health: Health = Health(shared, self.namespace, self.credential_key)

    @property
    def answers(self) -> TenantAnswers:
        """State of the tenant's comparisons; kept here, as looking it up takes as long as one."""
        if self._answers is None:
            self._answers = self.shared.answers.of_tenant(self.namespace)
        return self._answers

    def rate_limit(self, operation: Operation) -> RateLimit | None:
        """Return the rate limit of an operation as learned so far; None if nothing shows one."""
        return self._limiter(operation.operation_id).rate_limit

    def _limiter(self, operation_id: str) -> Limiter:
        limiter = self._limiters.get(operation_id)
        if limiter is None:
            limiter = self._limiters[operation_id] = self.shared.limiter(
                self.namespace, operation_id
            )
        return limiter

    async def send(
        self, request: Request, decoder: ItemDecoder[T], *, deadline: Deadline, record: CallRecord
    ) -> Page[T]:
        """Send a request, with retries as `retry.decide` says, and parse its response.

        A wait that would pass the deadline is not started.

        Raises:
            SpotBillingError: error of the last attempt.
        """
        shared, counts, credential = self.shared, record.counts, self._credential
        limiter = self._limiter(request.operation.operation_id)
        shared.retry_budget.calls += 1
        record.timeouts = counts.failed_probes
        attempts, refusals, is_renewed = counts.failed_attempts, 0, False
        while True:
            record.needs_new, record.fault = record.fault in {"stale", "silent"}, ""
            if counts.allowance is not None:
                counts.require_request()  # before it waits for a permit
            try:
                token = credential.current
                if token is None:  # before admission, so that no permit is held meanwhile
                    token = await self._provided_token(request, record)
                shared.require_open(deadline.task)
                permit = shared.admission.try_start(limiter)
                if permit is None:
                    permit = await self._wait_for_permit(
                        limiter, request, deadline, record, refusals=refusals
                    )
                    # Race: the token may have been renewed during the wait.
                    token = token if credential.current is None else credential.current
                record.is_last = attempts + 1 >= shared.config.retry.max_attempts
                return await self._attempt(
                    request, token, limiter, permit, decoder, record, deadline
                )
            except SpotBillingError as error:
                failure = error
            record.add_failure(failure)
            is_refused = isinstance(failure, RateLimitedError)
            refusals += is_refused
            counts.refusals += is_refused
            if isinstance(failure, AuthenticationError):
                is_renewed = not is_renewed and token is not None and credential.reject(token)
                if is_renewed:  # the server did nothing, and there is another token: no back-off
                    counts.retries += 1
                    continue
                shared.refused.use(self.credential_key, None)
            operation, fault = request.operation, record.fault
            # With too many open files, the request goes out when another one has ended.
            is_free = fault == "no files" and shared.lower_concurrency()
            if fault == "stale":  # says nothing about the server's health
                is_free = operation.idempotent or not getattr(failure, "sent", True)
            attempts += not (is_refused or is_free or isinstance(failure, OutageError))
            if not (is_free or fault == "silent"):
                # A refused slice waits for the reset as its neighbours do.
                ends_at_s = (
                    deadline.end_of_quota_wait_s(refusals) if is_refused else deadline.ends_at_s
                )
                await self._back_off(failure, attempts, operation, limiter, ends_at_s, record)
            counts.retries += 1

    async def _provided_token(self, request: Request, record: CallRecord) -> Secret:
        started_s = self.shared.clock()
        try:
            return await self._credential.token()
        except BaseException as error:
            self.health.note_no_token(request, error, started_s)
            without_frames(error)
            raise
        finally:
            if record.is_timed:
                record.lap("queued_s")

    async def _wait_for_permit(
        self,
        limiter: Limiter,
        request: Request,
        deadline: Deadline,
        record: CallRecord,
        *,
        refusals: int,
    ) -> Permit:
        """Wait until the limiter and the concurrency limit let the request through.

        Raises:
            DeadlineExceededError: they would do so only after the deadline.
        """
        is_paced = limiter.wait_s(self.shared.clock()) > 0
        try:
            with deadline.waiting_for_quota(refusals=refusals) as ends_at_s:
                return await self.shared.admission.wait(limiter, ends_at_s, again=refusals > 0)
        except DeadlineExceededError as late:
            message = f"{request.operation.operation_id}: {late}"
            raise DeadlineExceededError(message, late.retry_after_s) from None
        finally:
            if record.is_timed:
                record.lap("paced_s" if is_paced else "queued_s")

    async def _back_off(
        self,
        failure: SpotBillingError,
        attempts: int,
        operation: Operation,
        limiter: Limiter,
        ends_at_s: float,
        record: CallRecord,
    ) -> None:
        """Wait until the request may be sent again; raise its failure if it may not."""
        shared = self.shared
        now_s = shared.clock()
        decision = decide(
            shared.config.retry,
            failure,
            idempotent=operation.idempotent,
            attempts=attempts,
            left_s=ends_at_s - now_s,
            limiter_wait_s=limiter.min_wait_s(now_s),
            budget=shared.retry_budget,
            random=random.random,
        )
        counts, is_last = record.counts, isinstance(decision, GiveUp)
        counts.failed_attempts = attempts
        if is_retryable(failure):
            self.health.hold_back(failure, operation, counts, is_last=is_last)
        if isinstance(decision, GiveUp):
            if is_retryable(failure):
                failure.add_note(f"not sent again: {decision.reason}")
            raise failure
        if decision.after_s:
            try:
                scopes = self.health.scopes(operation) if counts.is_in_pull else ()
                await shared.outages.back_off(now_s + decision.after_s, scopes)
            finally:
                if record.is_timed:
                    record.lap("backoff_s")

    async def _attempt(
        self,
        request: Request,
        token: Secret,
        limiter: Limiter,
        permit: Permit,
        decoder: ItemDecoder[T],
        record: CallRecord,
        deadline: Deadline,
    ) -> Page[T]:
        """Send a request once; report its end to the limiter and to the hook."""
        shared, operation = self.shared, request.operation
        admission = shared.admission  # race: the client may be left and entered again meanwhile
        response: Response | None = None
        failure: BaseException | None = None
        elapsed_s: float | None = None
        is_counted = False
        try:
            self.health.require_open(operation, record.counts)
            record.counts.count_request()
            is_counted = True
            exchange = shared.transport.exchange(request, token, record)
            given_s = deadline.ends_at_s - permit.sent_s
            response = await shared.attempts.limited(exchange, request, record, deadline, given_s)
            if record.is_timed:
                elapsed_s = shared.clock() - permit.sent_s
            page = await self._parsed(request, response, decoder, token)
        except BaseException as error:  # noqa: BLE001  raised below
            failure = without_frames(error)  # the frames hold headers and bodies
        if record.is_timed:
            record.lap("first_byte_s" if response is None else "decode_s")
        # Without a SpotBillingError, the call was cancelled while it decoded a large response.
        is_cancelled = failure is not None and not isinstance(failure, SpotBillingError)
        self.health.note(request, failure, permit.sent_s, record.fault)
        if failure is None and shared.refused:
            shared.refused.pop(self.credential_key, None)
        # The API counts the requests of organizations, so it knows a token that it limits.
        is_accepted = failure is None or isinstance(failure, RateLimitedError)
        if is_accepted and operation.operation_id not in self._kept:
            shared.keep(self._credential, operation.operation_id, limiter)
            self._kept.add(operation.operation_id)
        # The quota in a 401, where it has one, is not that of the tenant.
        if response is None or is_cancelled or isinstance(failure, AuthenticationError):
            is_unsent = isinstance(failure, TransportError) and not failure.sent
            admission.on_lost(limiter, permit, sent=is_counted and not is_unsent)
        elif isinstance(failure, RateLimitedError):
            quota = read_quota(response.headers)
            admission.on_rejected(limiter, permit, quota, retry_after_s=failure.retry_after_s)
        else:
            admission.on_response(
                limiter,
                permit,
                read_quota(response.headers),
                # Only the time to the first byte: how fast a body arrives says nothing about load.
                waited_s=response.waited_s if failure is None else None,
                is_overloaded=response.status == _OVERLOADED
                and not shared.outages.is_closed(self.health.scopes(operation)),
            )
        if record.is_timed and is_counted:
            record.request_ended(
                request,
                urlsplit(shared.base_url).path + shared.paths[operation.operation_id],
                started_s=permit.sent_s,
                elapsed_s=shared.clock() - permit.sent_s if elapsed_s is None else elapsed_s,
                status=None if response is None else response.status,
                error=failure,
                mismatches=() if failure is not None else tuple(page.differs),
            )
        if failure is not None:
            del response  # tools evaluate the lines of a frame, and its headers may echo the token
            raise failure
        record.counts.failed_attempts = 0
        return page

    async def _parsed(
        self, request: Request, response: Response, decoder: ItemDecoder[T], token: Secret
    ) -> Page[T]:
        """Parse a response, and compare it with its request; a large one waits for its turn.

        Raises:
            SpotBillingError: the response is an error, or cannot be trusted.
        """
        if len(response.body) > _QUICK_BYTES:
            await self.shared.decode_turns.take()
        shared, operation = self.shared, request.operation
        try:
            if response.pieces:
                page = await parse_large_response(operation, response, decoder, token)
            else:
                page = parse_response(operation, response, decoder, token)
            found = compare(
                request,
                page,
                decoder,
                check_echo=shared.config.check_echo,
                row_dates=shared.config.row_dates,
                row_accounts=shared.config.row_accounts,
            )
        except SpotBillingError:
            raise
        except Exception as error:  # noqa: BLE001  see below
            # A caller's item type may run code of its own, which may raise anything.
            problem = f"decoding the items failed with {type(error).__name__}"
            raise DecodeError(f"{operation.operation_id}: {problem}", permanent=True) from None
        account_id = request.parameters.get("accountId")
        if account_id is not None and page.items:  # not without rows: it may be a mistyped id
            shared.answers.note_asked(account_id)
        if not found.keys() <= self.answers.agreed or any(found.values()):
            differs = shared.answers.contested(self.answers, found, account_id)
            if differs:
                page.is_mixed_up = shared.answers.is_mixed_up(differs, account_id)
                # A few values tell one contradiction from another; a response may have thousands.
                page.differs = {
                    kind: tuple(
                        token.removed_from(each)[:_KEPT_CHARACTERS]
                        for each in nsmallest(_KEPT_VALUES, said)
                    )
                    for kind, said in differs.items()
                }
                shared.transport.distrust()
        return page
