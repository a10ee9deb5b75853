"""The session manager: bearer auth, limits, deadline, retry loop. All network I/O is here.

The only file that uses aiohttp's client. Its exceptions, and the operating system's, end here: what
leaves is a `SpotBillingError` without a trace of the request's headers.
"""

import asyncio
import random
import time
from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from spot_billing_async.admission import Admission
from spot_billing_async.concurrency import ConcurrencyLimit
from spot_billing_async.config import ClientConfig
from spot_billing_async.credentials import Credential, is_being_cancelled
from spot_billing_async.deadline import Deadline
from spot_billing_async.errors import (
    ConfigError,
    DeadlineExceededError,
    RateLimitedError,
    ResponseTooLargeError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.pacing import Gate, Ticket
from spot_billing_async.quota import read_quota
from spot_billing_async.retry import GiveUp, RetryBudget, decide, may_pass
from spot_billing_async.telemetry import CallRecord, Hook, RequestEnded, tell
from spot_billing_async.version import __version__
from spot_billing_async.wire import Reply, Request

T = TypeVar("T")

_USER_AGENT = f"spot-billing-async/{__version__}"
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_OVERLOADED = 503


class Connections:
    """The connections that a client and its views share, and the lines before them.

    One request, one answer: no retries, no token of its own.

    Args:
        config: limits.
        session: the caller's own, or None.
        clock: seconds that only grow; what gates and deadlines are read on.
        times_connecting: tell the time of connecting from that of the first byte; it costs a little
            with each request.

    Attributes:
        admission: where calls wait for their turn.
        budget: of retries.
    """

    def __init__(
        self,
        config: ClientConfig,
        session: aiohttp.ClientSession | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        times_connecting: bool = False,
    ) -> None:
        self.clock = clock
        self.admission = Admission(ConcurrencyLimit(config.max_concurrency), clock)
        self.budget = RetryBudget(config.retry)
        self._config = config
        self._callers_session = session
        self._times_connecting = times_connecting
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: it is open already.
        """
        if self._session is not None:
            raise ConfigError("client: it is entered already; allowed: one 'async with' at a time")
        self._loop = asyncio.get_running_loop()
        self.admission = Admission(ConcurrencyLimit(self._config.max_concurrency), self.clock)
        self._session = self._callers_session or self._own_session()

    def _own_session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._config.max_concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_connection_times()] if self._times_connecting else None,
        )
        # aiohttp sends GET, PUT and DELETE again on its own where a kept connection breaks. Such a
        # request is seen by no report, no `max_attempts` and no gate: retries are decided here.
        session._retry_connection = False  # noqa: SLF001  there is no public name for it
        return session

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        session, self._session = self._session, None
        self.admission.close()
        if session is not None and session is not self._callers_session:
            await session.close()

    def demand_open(self) -> None:
        """Refuse to begin what could not be sent.

        Raises:
            ConfigError: the client is not entered, or the caller's session is closed.
        """
        self._opened()

    async def exchange(self, request: Request, token: str, record: CallRecord) -> Reply:
        """Send a request and read the whole answer.

        Raises:
            ConfigError: as for `demand_open`, or the caller's session does not go with a token.
            TransportError: no complete answer came.
            ResponseTooLargeError: the body has more than `max_response_bytes`.
        """
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {token}",
            "User-Agent": _USER_AGENT,
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._opened().request(
                request.operation.method,
                URL(request.url, encoded=True),
                data=request.body,
                headers=headers,
                allow_redirects=False,  # a redirect would carry the token elsewhere
                raise_for_status=False,
                timeout=_NO_TIMEOUT,  # the deadline is the call's
                trace_request_ctx=record,
            ) as response:
                record.lap("first_byte_s")
                try:
                    body = await _read_body(response, self._config.max_response_bytes)
                finally:
                    record.lap("body_s")
                return Reply(response.status, response.headers, body, _is_marked(response))
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            failure: SpotBillingError = TransportError("the connections were closed meanwhile")
        except Exception as error:  # noqa: BLE001  the border: no foreign exception passes it
            failure = error if isinstance(error, SpotBillingError) else _translate(error)
        # Raised outside the except block: aiohttp's errors hold the request's headers, and a
        # context would take them along into every log of the traceback.
        raise failure

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise ConfigError("client: it is not open; allowed: calls inside 'async with' alone")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError("client: it was entered in another event loop; allowed: calls in it")
        return self._session


def _connection_times() -> aiohttp.TraceConfig:
    """Books the time that connecting takes to the record of the call it is for."""

    async def starts(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.lap("queued_s")

    async def ends(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.lap("connect_s")

    times = aiohttp.TraceConfig()
    times.on_connection_create_start.append(starts)
    times.on_connection_create_end.append(ends)
    return times


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    chunks = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > max_bytes:
            raise ResponseTooLargeError(
                f"the body has more than max_response_bytes ({max_bytes} bytes)"
            )
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _is_marked(response: aiohttp.ClientResponse) -> bool:
    """Whether something else than the closing of the connection tells where the body ends.

    A response without a version came over no wire: a test double, which is whole.
    """
    headers = response.headers
    is_chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    return is_chunked or "Content-Length" in headers or response.version is None


def _translate(error: Exception) -> SpotBillingError:
    """The error of this package that a foreign one stands for.

    Only the system's own words are handed on: aiohttp quotes what the server sent, and a server may
    send the token back.
    """
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or error.os_error
        return TransportError(f"cannot connect to {error.host}:{error.port}: {reason}", sent=False)
    if isinstance(error, OSError):
        return TransportError(f"{name}: {error}")
    if isinstance(error, aiohttp.ClientError | HttpProcessingError | EOFError):
        return TransportError(f"the answer is cut off, or no HTTP: {name}")
    # Raised before anything is sent, such as for a session whose own auth contradicts the token, or
    # whose proxy is no URL.
    return ConfigError(f"session: aiohttp refuses the request: {name}")


class SessionManager:
    """Sends one credential's requests over shared connections, until they are answered.

    Args:
        connections: opened and closed by the client.
        credential: whose token is sent.
        base_url: where to; the token goes nowhere else.
        config: limits.
        hook: is told of what happens.
    """

    def __init__(
        self,
        connections: Connections,
        credential: Credential,
        base_url: str,
        config: ClientConfig,
        hook: Hook | None = None,
    ) -> None:
        self.base_url = base_url
        self.config = config
        self.hook = hook
        self.clock = connections.clock
        self._connections = connections
        self._credential = credential
        self._gates: dict[str, Gate] = {}

    def with_credential(self, credential: Credential) -> "SessionManager":
        """Another credential over the same connections; it has gates of its own."""
        return SessionManager(self._connections, credential, self.base_url, self.config, self.hook)

    async def send(
        self,
        request: Request,
        read: Callable[[Reply, str], T],
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
        gate = self._gate_of(operation.operation_id)
        self._connections.budget.ask()
        tries, refused = 0, False
        while True:
            ticket = await self._admit(gate, request, deadline, record, refused=refused)
            try:
                return await self._attempt(request, gate, ticket, read, record)
            except SpotBillingError as error:
                failure = error
            record.met.append(f"{type(failure).__name__}: {failure}")
            refused = isinstance(failure, RateLimitedError)
            record.tally.refusals += refused
            tries += not refused
            now_s = self.clock()
            wait_s = gate.wait_s(now_s)
            decision = decide(
                self.config.retry,
                failure,
                idempotent=operation.idempotent,
                tries=tries,
                left_s=deadline.ends_at_s - now_s,
                gate_wait_s=0.0 if wait_s == inf else wait_s,
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
            record.tally.retries += 1

    def _gate_of(self, operation_id: str) -> Gate:
        gate = self._gates.get(operation_id)
        if gate is None:
            gate = self._gates[operation_id] = Gate(self.config.retry.backoff_base_s)
        return gate

    async def _admit(
        self, gate: Gate, request: Request, deadline: Deadline, record: CallRecord, *, refused: bool
    ) -> Ticket:
        """Wait for the gate and for a place on the wire."""
        self._connections.demand_open()
        admission = self._connections.admission
        if admission.is_open(gate):
            return admission.start(gate)
        is_paced = gate.wait_s(self.clock()) > 0
        ends_at_s = deadline.bound_s(refused=refused)
        paused_s = deadline.pause() if ends_at_s != deadline.ends_at_s else None
        try:
            return await admission.wait(gate, ends_at_s, again=refused)
        except DeadlineExceededError as late:
            message = f"{request.operation.operation_id}: {late}"
        finally:
            record.lap("paced_s" if is_paced else "queued_s")
            if paused_s is not None:
                deadline.resume(paused_s)
        raise DeadlineExceededError(message)

    async def _attempt(
        self,
        request: Request,
        gate: Gate,
        ticket: Ticket,
        read: Callable[[Reply, str], T],
        record: CallRecord,
    ) -> T:
        """Send a request that was let through, once; gate and limit learn how it ended."""
        admission = self._connections.admission
        started_s: float | None = None
        try:
            token = await self._credential.token()
            record.lap("queued_s")
            record.tally.requests += 1
            started_s = self.clock()
            waited_s = -record.phases.first_byte_s
            reply = await self._connections.exchange(request, token, record)
        except BaseException as error:
            admission.dropped(gate, ticket, sent=started_s is not None)
            record.lap("queued_s" if started_s is None else "first_byte_s")
            if started_s is not None:
                self._tell(request, record, self.clock() - started_s, None, error)
            raise
        elapsed_s = self.clock() - started_s
        # A body that trickles in says nothing of how much the server has to do.
        waited_s += record.phases.first_byte_s
        failure: SpotBillingError | None = None
        try:
            value = read(reply, token)
        except SpotBillingError as error:
            failure = error
        record.lap("decode_s")
        quota = read_quota(reply.headers)
        if isinstance(failure, RateLimitedError):
            admission.refused(gate, ticket, quota, retry_after_s=failure.retry_after_s)
        else:
            admission.answered(
                gate,
                ticket,
                quota,
                waited_s=waited_s if failure is None else None,
                is_overloaded=reply.status == _OVERLOADED,
            )
        self._tell(request, record, elapsed_s, reply.status, failure)
        if failure is not None:
            raise failure
        return value

    def _tell(
        self,
        request: Request,
        record: CallRecord,
        elapsed_s: float,
        status: int | None,
        error: BaseException | None,
    ) -> None:
        event = RequestEnded(
            operation_id=request.operation.operation_id,
            number=record.tally.requests,
            elapsed_s=elapsed_s,
            status=status,
            error=None if error is None else type(error).__name__,
        )
        tell(self.hook, event)
