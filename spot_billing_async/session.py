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
from spot_billing_async.credentials import Credential
from spot_billing_async.errors import (
    ConfigError,
    DeadlineExceededError,
    RateLimitedError,
    ResponseTooLargeError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.pacing import Gate
from spot_billing_async.retry import GiveUp, decide
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
        self._session = session
        self._owns_session = session is None
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._open = False

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: it is open already.
        """
        if self._open:
            raise ConfigError("client: it is entered already; allowed: one 'async with' at a time")
        if self._owns_session:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.max_concurrency),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        self._open = True

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        self._open = False
        if self._owns_session and self._session is not None:
            await self._session.close()

    async def exchange(self, request: Request, authorization: str) -> Reply:
        """Send a request and read the whole answer, holding one of the slots meanwhile.

        Raises:
            ConfigError: the client is not entered, or the caller's session is closed.
            TransportError: no complete answer came.
            ResponseTooLargeError: the body has more than `max_response_bytes`.
        """
        session = self._session
        if not self._open or session is None or session.closed:
            raise ConfigError("client: it is not open; allowed: calls inside 'async with' alone")
        headers = {
            "Accept": "application/json",
            "Authorization": authorization,
            "User-Agent": _USER_AGENT,
        }
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        async with self._slots:
            try:
                async with session.request(
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
            except (aiohttp.ClientError, HttpProcessingError, OSError, EOFError) as error:
                failure = _translate(error)
        # Raised outside the except block: aiohttp's errors hold the request's headers, and a
        # context would take them along into every log of the traceback.
        raise failure


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
    return "Content-Length" in headers or "Transfer-Encoding" in headers or response.version is None


def _translate(error: BaseException) -> TransportError:
    never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL)
    # ClientResponseError's text is built from its parts: its repr would show the headers.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    name = type(error).__name__
    return TransportError(f"{name}: {text}" if text else name, sent=not never_sent)


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
            await self._pass(gate, request, ends_at_s)
            try:
                authorization = await self._credential.authorization()
                attempt += 1
                tally.sent(attempt)
                reply = await self._connections.exchange(request, authorization)
                return read(reply, authorization.removeprefix("Bearer "))
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
                raise failure
            await asyncio.sleep(decision.after_s)

    async def _pass(self, gate: Gate, request: Request, ends_at_s: float) -> None:
        """Wait until the gate is open, or fail at once where that is after the deadline."""
        while (wait_s := gate.wait_s(now_s := self._clock())) > 0:
            if now_s + wait_s >= ends_at_s:
                raise DeadlineExceededError(
                    f"{request.operation.operation_id}: the server's rate limit opens again in "
                    f"{wait_s:.3g} s, after the deadline"
                )
            await asyncio.sleep(wait_s)
