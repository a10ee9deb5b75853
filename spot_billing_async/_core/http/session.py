"""The session manager: one credential's requests over shared connections, until they are answered.

Here is the border for errors: what leaves `_attempt` has no frames of the request it was met in.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from spot_billing_async._core.aio.deadline import Deadline, DeadlineTimer
from spot_billing_async._core.auth.credentials import Credential, Credentials
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.retry import GiveUp, decide, may_pass
from spot_billing_async._core.http.transport import Transport
from spot_billing_async._core.pacing.abc import Limiter
from spot_billing_async._core.pacing.registry import LimiterRegistry
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.rate_limit import RateLimit, read_quota
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import Response
from spot_billing_async.errors import (
    AuthenticationError,
    DeadlineExceededError,
    RateLimitedError,
    SpotBillingError,
    TransportError,
    without_frames,
)
from spot_billing_async.telemetry import Hook, emit

T = TypeVar("T")

_OVERLOADED = 503
_QUICK_BYTES = 32 * 1024
"""A body that is decoded in a tenth of a millisecond."""


class SessionManager:
    """Sends one credential's requests over shared connections, until they are answered.

    Args:
        connections: opened and closed by the client.
        credential: whose token is sent.
        base_url: where to; the token goes nowhere else.
        config: limits.
        gates: of all credentials over these connections.
        credentials: of all views over these connections.
        hook: is told of what happens; None for nobody.
    """

    def __init__(
        self,
        connections: Transport,
        credential: Credential,
        base_url: str,
        config: ClientConfig,
        limiters: LimiterRegistry,
        credentials: Credentials,
        hook: Hook | None = None,
    ) -> None:
        self.base_url = base_url
        self.config = config
        self.hook = hook
        self.clock = connections.clock
        self._connections = connections
        self._credential = credentials.one_of(credential)
        self._credentials = credentials
        self._limiters = limiters

    @property
    def namespace(self) -> str:
        """What stands for its credential where something is shared or kept."""
        return self._credential.namespace

    @property
    def watch(self) -> DeadlineTimer:
        """Over the deadlines of the client's calls."""
        return self._connections.watch

    def path_of(self, operation: Operation) -> str:
        """The path of an operation's template, or what overrides it."""
        return self.config.path_overrides.get(operation.operation_id, operation.path)

    def with_credential(self, credential: Credential) -> "SessionManager":
        """Another credential over the same connections; its requests have gates of their own."""
        return SessionManager(
            self._connections,
            credential,
            self.base_url,
            self.config,
            self._limiters,
            self._credentials,
            self.hook,
        )

    async def send(
        self,
        request: Request,
        read: Callable[[Response, Secret], Awaitable[T]],
        *,
        deadline: Deadline,
        record: CallRecord,
    ) -> T:
        """Send a request, again where `retry.decide` says so, and read what is answered.

        Args:
            request: what to send.
            read: makes the value of an answer, or raises the error that it stands for; it is given
                the token too, to cut it out of what errors carry.
            deadline: of the call; no wait that is sure to outlast it is begun.
            record: the call's books.

        Raises:
            SpotBillingError: what the last request met.
        """
        operation = request.operation
        limiter = self._limiters.get_or_create(self.namespace, operation.operation_id)
        self._connections.budget.ask()
        tries, refused, renewed = 0, False, False
        while True:
            record.tally.require_request()  # before it waits for its turn
            try:
                # First the token: no place is held meanwhile.
                token = self._credential.present or await self._token(record)
                permit = await self._admit(limiter, request, deadline, record, refused=refused)
                token = self._credential.present or token  # renewed while it waited for its turn
                return await self._attempt(request, token, limiter, permit, read, record)
            except SpotBillingError as error:
                failure = error
            record.attempt_errors.append(f"{type(failure).__name__}: {failure}")
            refused = isinstance(failure, RateLimitedError)
            record.tally.refusals += refused
            if isinstance(failure, AuthenticationError) and not renewed:
                renewed = self._credential.reject(token)
                if renewed:  # nothing was done, and the next one has another token
                    record.tally.retries += 1
                    continue
            tries += not refused
            await self._back_off(failure, tries, operation, limiter, deadline, record)
            record.tally.retries += 1

    async def _back_off(
        self,
        failure: SpotBillingError,
        tries: int,
        operation: Operation,
        limiter: Limiter,
        deadline: Deadline,
        record: CallRecord,
    ) -> None:
        """Wait until a request may be sent again; where it may not, raise what it failed with."""
        now_s = self.clock()
        decision = decide(
            self.config.retry,
            failure,
            idempotent=operation.idempotent,
            tries=tries,
            left_s=deadline.ends_at_s - now_s,
            limiter_wait_s=limiter.min_wait_s(now_s),
            budget=self._connections.budget,
            random=random.random,
        )
        if isinstance(decision, GiveUp):
            if may_pass(failure):
                failure.add_note(f"not sent again: {decision.reason}")
            raise failure
        if decision.after_s:
            try:
                await asyncio.sleep(decision.after_s)
            finally:
                record.lap("backoff_s")

    def rate_limit(self, operation: Operation) -> RateLimit | None:
        """What the answers of an operation have told of its rate limit; None for nothing."""
        limiter = self._limiters.get(self.namespace, operation.operation_id)
        return None if limiter is None else limiter.rate_limit

    async def _token(self, record: CallRecord) -> Secret:
        try:
            return await self._credential.token()
        except BaseException as error:
            without_frames(error)
            raise
        finally:
            record.lap("queued_s")

    async def _admit(
        self,
        limiter: Limiter,
        request: Request,
        deadline: Deadline,
        record: CallRecord,
        *,
        refused: bool,
    ) -> Permit:
        """Wait for the gate and for a place on the wire."""
        self._connections.require_open(deadline.loop)
        admission = self._connections.admission
        if admission.is_open(limiter):
            return admission.start(limiter)
        is_paced = limiter.wait_s(self.clock()) > 0
        ends_at_s = deadline.bound_s(refused=refused)
        paused_s = deadline.pause() if ends_at_s != deadline.ends_at_s else None
        try:
            return await admission.wait(limiter, ends_at_s, again=refused)
        except DeadlineExceededError as late:
            message = f"{request.operation.operation_id}: {late}"
            retry_after_s = late.retry_after_s
        finally:
            record.lap("paced_s" if is_paced else "queued_s")
            if paused_s is not None:
                deadline.resume(paused_s)
        raise DeadlineExceededError(message, retry_after_s)

    async def _attempt(
        self,
        request: Request,
        token: Secret,
        limiter: Limiter,
        permit: Permit,
        read: Callable[[Response, Secret], Awaitable[T]],
        record: CallRecord,
    ) -> T:
        """Send a request that was admitted, once; gate and limit learn how it ended."""
        admission = self._connections.admission
        is_counted = False
        try:
            record.tally.count_request()
            is_counted = True
            reply = await self._connections.exchange(request, token, record)
        except BaseException as error:
            is_unsent = isinstance(error, TransportError) and not error.sent
            admission.on_lost(limiter, permit, sent=is_counted and not is_unsent)
            record.lap("first_byte_s")
            if is_counted:
                elapsed_s = self.clock() - permit.sent_s
                self._tell(request, record, permit.sent_s, elapsed_s, None, error)
            without_frames(error)  # they hold the request's headers
            raise
        elapsed_s = self.clock() - permit.sent_s
        failure: SpotBillingError | None = None
        try:
            if len(reply.body) > _QUICK_BYTES:
                await self._connections.turns.take()
            value = await read(reply, token)
        except SpotBillingError as error:
            failure = without_frames(error)
        except BaseException as error:  # cancelled while it read a large one
            admission.on_lost(limiter, permit, sent=True)
            self._tell(request, record, permit.sent_s, elapsed_s, reply.status, error)
            raise
        finally:
            record.lap("decode_s")
        quota = read_quota(reply.headers)
        if isinstance(failure, RateLimitedError):
            admission.on_rejected(limiter, permit, quota, retry_after_s=failure.retry_after_s)
        else:
            admission.on_response(
                limiter,
                permit,
                quota,
                # A body that trickles in says nothing of how much the server has to do.
                waited_s=reply.waited_s if failure is None else None,
                is_overloaded=reply.status == _OVERLOADED,
            )
        self._tell(request, record, permit.sent_s, elapsed_s, reply.status, failure)
        if failure is not None:
            raise failure
        return value

    def _tell(
        self,
        request: Request,
        record: CallRecord,
        started_s: float,
        elapsed_s: float,
        status: int | None,
        error: BaseException | None,
    ) -> None:
        """Tell the hook, if there is one, of a request that is over."""
        if self.hook is None:
            return
        operation = request.operation
        event = record.request_ended(
            operation.operation_id,
            method=operation.method,
            url=request.url,
            url_template=urlsplit(self.base_url).path + self.path_of(operation),
            started_s=started_s,
            elapsed_s=elapsed_s,
            status=status,
            error=error,
        )
        emit(self.hook, event)
