"""The session manager: bearer auth, limits, deadline, retry loop. All network I/O is here.

The only file that uses aiohttp's client. Its exceptions, and the operating system's, end here: what
leaves is a `SpotBillingError` without a trace of the request's headers.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

from spot_billing_async.config import ClientConfig
from spot_billing_async.credentials import Credential, is_being_cancelled
from spot_billing_async.errors import (
    ConfigError,
    DeadlineExceededError,
    RateLimitedError,
    ResponseTooLargeError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.pacing import Gate
from spot_billing_async.retry import GiveUp, decide, may_pass
from spot_billing_async.telemetry import Tally
from spot_billing_async.version import __version__
from spot_billing_async.wire import Reply, Request

T = TypeVar("T")

_USER_AGENT = f"spot-billing-async/{__version__}"


class Connections:
    """The connections that a client and its views share, and the limit on their use.

    One request, one answer: no retries, no token of its own.
    """

    def __init__(self, config: ClientConfig, session: aiohttp.ClientSession | None) -> None:
        self._config = config
        self._callers_session = session
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: it is open already.
        """
        if self._session is not None:
            raise ConfigError("client: it is entered already; allowed: one 'async with' at a time")
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(self._config.max_concurrency)
        self._session = self._callers_session or self._own_session()

    def _own_session(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._config.max_concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp sends GET, PUT and DELETE again on its own where a kept connection breaks. Such a
        # request is seen by no report, no `max_attempts` and no gate: retries are decided here.
        session._retry_connection = False  # noqa: SLF001  there is no public name for it
        return session

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        session, self._session = self._session, None
        if session is not None and session is not self._callers_session:
            await session.close()

    @property
    def slots(self) -> asyncio.Semaphore:
        """The places of requests on the wire; one is held from sending to the last byte.

        Raises:
            ConfigError: the client is not entered, or the caller's session is closed.
        """
        self._opened()
        return self._slots

    async def exchange(self, request: Request, token: str) -> Reply:
        """Send a request and read the whole answer.

        Raises:
            ConfigError: as for `slots`, or the caller's session does not go with a bearer token.
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
                timeout=aiohttp.ClientTimeout(total=None),  # the deadline is the call's
            ) as response:
                body = await _read_body(response, self._config.max_response_bytes)
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
        clock: seconds that only grow; what gates and deadlines are read on.
    """

    def __init__(
        self,
        connections: Connections,
        credential: Credential,
        base_url: str,
        config: ClientConfig,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.base_url = base_url
        self.config = config
        self._connections = connections
        self._credential = credential
        self._clock = clock
        self._gates: dict[str, Gate] = {}

    def with_credential(self, credential: Credential) -> "SessionManager":
        """Another credential over the same connections; it has gates of its own."""
        return SessionManager(
            self._connections, credential, self.base_url, self.config, self._clock
        )

    @asynccontextmanager
    async def deadline(self, operation_id: str) -> AsyncIterator[float]:
        """Bound a call by `deadline_s`; yields the reading of the clock at which it ends.

        Raises:
            DeadlineExceededError: the call did not end in time.
        """
        deadline_s = self.config.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                yield self._clock() + deadline_s
        except TimeoutError:
            raise DeadlineExceededError(
                f"{operation_id} did not end within {deadline_s:g} s"
            ) from None

    async def send(
        self,
        request: Request,
        read: Callable[[Reply, str], T],
        *,
        ends_at_s: float,
        tally: Tally,
    ) -> T:
        """Send a request, again where `retry.decide` says so, and read what is answered.

        Args:
            request: what to send.
            read: makes the value of an answer, or raises the error that it stands for; it is given
                the token too, to cut it out of what errors carry.
            ends_at_s: the deadline, on this session's clock.
            tally: counts the requests while they are sent.

        Raises:
            SpotBillingError: what the last request met.
        """
        operation = request.operation
        gate = self._gates.setdefault(operation.operation_id, Gate())
        attempt = 0
        while True:
            attempt += 1
            try:
                reply, token = await self._exchange(request, gate, ends_at_s, tally)
                return read(reply, token)
            except SpotBillingError as error:
                failure = error
            if isinstance(failure, RateLimitedError):
                gate.refused(self._clock(), failure.retry_after_s)
            decision = decide(
                self.config.retry,
                failure,
                idempotent=operation.idempotent,
                attempt=attempt,
                left_s=ends_at_s - self._clock(),
                random=random.random,
            )
            if isinstance(decision, GiveUp):
                if may_pass(failure):
                    failure.add_note(f"not sent again: {decision.reason}")
                raise failure
            await asyncio.sleep(decision.after_s)
            tally.retries += 1

    async def _exchange(
        self, request: Request, gate: Gate, ends_at_s: float, tally: Tally
    ) -> tuple[Reply, str]:
        """Send a request when gate and slots allow it; the answer, and the token that was sent.

        No slot is held while waiting, and a token is not asked for before the wait: it may not live
        that long.
        """
        while True:
            await self._pass(gate, request, ends_at_s)
            token = await self._credential.token()
            async with self._connections.slots:
                if gate.wait_s(self._clock()) > 0:
                    continue  # it closed while this one queued for its slot
                tally.requests += 1
                return await self._connections.exchange(request, token), token

    async def _pass(self, gate: Gate, request: Request, ends_at_s: float) -> None:
        """Wait until the gate is open, or fail at once where that is after the deadline."""
        while (wait_s := gate.wait_s(now_s := self._clock())) > 0:
            if now_s + wait_s >= ends_at_s:
                raise DeadlineExceededError(
                    f"{request.operation.operation_id}: the server's rate limit opens again in "
                    f"{wait_s:.3g} s, after the deadline"
                )
            await asyncio.sleep(wait_s)
