"""Transport, and the bytes that cross them: the thin skin over aiohttp.

The only file that uses aiohttp's client. Its exceptions, and the operating system's, end here: what
leaves is a `SpotBillingError` that quotes nothing of the request.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import aiohttp
from aiohttp.http import HttpProcessingError
from anyio import to_thread
from yarl import URL

from spot_billing_async._core.aio.deadline import DeadlineTimer
from spot_billing_async._core.aio.tasks import TurnQueue, is_being_cancelled
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.gzip import STEP_BYTES, Gunzip
from spot_billing_async._core.http.retry import RetryBudget
from spot_billing_async._core.http.tls import Network, load
from spot_billing_async._core.pacing.admission import Admission
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import Response
from spot_billing_async._core.protocol.streaming_decoder import LARGE_BYTES
from spot_billing_async.errors import (
    CLIENT_IS_ELSEWHERE,
    CLIENT_IS_NOT_OPEN,
    ConfigError,
    ResponseTooLargeError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.version import __version__

_READ_BUFFER_BYTES = 1024 * 1024
"""A page of a thousand rows then comes without a pause; pauses take a sixth of its time."""
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"spot-billing-async/{__version__}",
}


class Transport:
    """The connections that a client and its views share, and the lines before them.

    One request, one answer: no retries, no token of its own.

    Args:
        config: limits, and the way to the server.
        base_url: the server.
        session: the caller's own, or None.
        clock: seconds that only grow; what gates and deadlines are read on.
        times_connecting: tell the time of connecting from that of the first byte; it costs a little
            with each request.

    Raises:
        ConfigError: the settings contradict the session or the server.

    Attributes:
        admission: where calls wait for their turn.
        watch: over their deadlines.
        turns: in which answers are decoded that are not small.
        budget: of retries.
    """

    def __init__(
        self,
        config: ClientConfig,
        base_url: str,
        session: aiohttp.ClientSession | None,
        clock: Callable[[], float] = time.monotonic,
        *,
        times_connecting: bool = False,
    ) -> None:
        _check_session(session, config)
        _check_proxy(config, base_url)
        self.clock = clock
        self.budget = RetryBudget(config.retry)
        self._config = config
        self._start_anew()
        self._base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._base_path = self._base.raw_path.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(  # all else is for the call's deadline
            total=None, sock_connect=config.connect_timeout_s
        )
        self._callers_session = session
        # A session of our own has them already, which takes half the time.
        self._common_headers = {} if session is None else _HEADERS
        self._times_connecting = times_connecting
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: it is open already, or a file or the environment's proxy is of no use.
        """
        network = Network()
        if not self._config.has_plain_network:
            network = await to_thread.run_sync(self._load_network)
        if self._session is not None:
            raise ConfigError("client: it is entered already; allowed: one 'async with' at a time")
        self._loop = asyncio.get_running_loop()
        _prepare_allocator()
        self._start_anew()
        self._session = self._callers_session or self._own_session(network)

    def _start_anew(self) -> None:
        """Make what belongs to one event loop, and to one time that the client is entered."""
        self.admission = Admission(ConcurrencyLimit(self._config.max_concurrency), self.clock)
        self.watch = DeadlineTimer(self.clock)
        self.turns = TurnQueue()

    def _load_network(self) -> Network:
        config = self._config
        return load(config.tls, config.proxy, self._base_url, trust_env=config.trust_env)

    def _own_session(self, network: Network) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._config.max_concurrency, ssl=network.context or True
            ),
            headers=_HEADERS,
            read_bufsize=_READ_BUFFER_BYTES,
            proxy=None if network.proxy is None else network.proxy.reveal(),
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
        self.watch.close()
        if session is not None and session is not self._callers_session:
            await session.close()

    def require_open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Refuse to begin in an event loop what could not be sent there.

        Raises:
            ConfigError: the client is not entered, or in another loop, or the caller's session is
                closed.
        """
        self._opened()
        if loop is not self._loop:
            raise ConfigError(CLIENT_IS_ELSEWHERE)

    async def exchange(self, request: Request, token: Secret, record: CallRecord) -> Response:
        """Send a request and read the whole answer.

        Raises:
            ConfigError: the client was left meanwhile, or the caller's session does not go with a
                token.
            TransportError: no complete answer came.
            ResponseTooLargeError: the body has more than `max_response_bytes`.
        """
        sent_s = self.clock()
        try:
            response = await self._opened().request(
                request.operation.method,
                self._url_of(request),
                data=request.body,
                headers=_headers(request, token, self._common_headers),
                allow_redirects=False,  # a redirect would carry the token elsewhere
                raise_for_status=False,
                auto_decompress=False,
                timeout=self._timeout,
                trace_request_ctx=record,
            )
            waited_s = self.clock() - sent_s
            record.lap("first_byte_s")
            try:
                return await _read(response, waited_s, self._config.max_response_bytes)
            finally:
                record.received_bytes += response.content.total_bytes
                if response.connection is not None:  # else all of it came, and it is free again
                    response.release()  # which closes it
                record.lap("body_s")
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            failure: SpotBillingError = TransportError("the connections were closed meanwhile")
        except Exception as error:  # noqa: BLE001  the border: no foreign exception passes it
            failure = error if isinstance(error, SpotBillingError) else _translate(error)
        # Raised outside the except block: aiohttp's errors hold the request's headers, and a
        # context would take them along into every log of the traceback.
        raise failure

    def _url_of(self, request: Request) -> URL:
        """The URL of a request, of parts: to find them again in a text takes twice the time."""
        base = self._base
        return URL.build(
            scheme=base.scheme,
            authority=base.raw_authority,
            path=self._base_path + request.path,
            query_string=request.query,
            encoded=True,
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        return self._session


def _prepare_allocator() -> None:
    """Let the blocks that sockets are read into be used again, rather than be mapped for each read.

    asyncio reads into 256 KiB at a time. glibc maps blocks of that size anew, with three calls of
    the system and fresh pages a read, until a larger one was freed: a tenth of a small request.
    """
    bytes(_READ_BUFFER_BYTES)


def _check_session(session: object, config: ClientConfig) -> None:
    """Refuse what is no session, and settings that a session of the caller's own would not heed."""
    if session is None:
        return
    if not isinstance(session, aiohttp.ClientSession):
        raise ConfigError(f"session: {session!r} is not allowed; allowed: a ClientSession")
    if not config.has_plain_network:
        raise ConfigError(
            "session: config has tls, proxy or trust_env, which a session of your own does not "
            "heed; allowed: to set them in that session, or to bring none"
        )


def _check_proxy(config: ClientConfig, base_url: str) -> None:
    if config.proxy is not None and not base_url.startswith("https:"):
        raise ConfigError(
            f"proxy: {config.proxy!r} would be shown the token on its way to {base_url!r}; "
            "allowed: a proxy with an https base_url"
        )


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


def _headers(request: Request, token: Secret, common: Mapping[str, str]) -> dict[str, str]:
    """The headers of a request. It raises nothing, as it holds the token."""
    headers = {**common, "Authorization": f"Bearer {token.reveal()}"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    return headers


async def _read(response: aiohttp.ClientResponse, waited_s: float, max_bytes: int) -> Response:
    """What came; a body that is too large to be joined and decoded at once stays in pieces.

    Raises:
        zlib.error, ResponseTooLargeError: as `_read_body`.
    """
    try:
        pieces = _at_hand(response, max_bytes)
        if pieces is None:
            pieces = await _read_body(response, max_bytes)
    except zlib.error:
        if response.ok:
            raise
        pieces = []  # an error's status says enough
    status, headers = response.status, response.headers
    if len(pieces) == 1:
        return Response(status, headers, pieces[0], waited_s=waited_s)
    if sum(map(len, pieces)) > LARGE_BYTES:
        return Response(status, headers, pieces[0], pieces=pieces, waited_s=waited_s)
    is_marked = bool(pieces) or _is_marked(response)
    return Response(status, headers, b"".join(pieces), is_marked, waited_s=waited_s)


def _at_hand(response: aiohttp.ClientResponse, max_bytes: int) -> list[bytes] | None:
    """The whole body, where it came with the head, as a small one does, and is not packed.

    Raises:
        ResponseTooLargeError: it is larger.
    """
    if "Content-Encoding" in response.headers or not response.content.is_eof():
        return None
    body = response.content.read_nowait()
    _check_size(len(body), max_bytes)
    return [body] if body else []


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> list[bytes]:
    """The whole body in pieces, unpacked; neither what crosses the wire nor what comes is larger.

    Raises:
        zlib.error: it is no gzip, or not all of it came.
        ResponseTooLargeError: it is larger.
    """
    unpack = _unpacker(response)
    pieces = []
    came_bytes = size_bytes = 0
    async for chunk in response.content.iter_any():
        came_bytes += len(chunk)
        _check_size(came_bytes, max_bytes)
        if unpack is None:
            pieces.append(chunk)
            continue
        for piece in unpack.feed(chunk):
            size_bytes += len(piece)
            _check_size(size_bytes, max_bytes)
            pieces.append(piece)
            if len(piece) == STEP_BYTES:
                await asyncio.sleep(0)  # there may be very much of it: others have their turn
    if unpack is not None and came_bytes and not unpack.is_complete:
        raise zlib.error("it has no end")
    return pieces


def _unpacker(response: aiohttp.ClientResponse) -> Gunzip | None:
    encoding = response.headers.get("Content-Encoding")
    if encoding is None or encoding.lower() == "identity":
        return None
    if encoding.lower() != "gzip":
        raise zlib.error("its Content-Encoding was not asked for")
    return Gunzip()


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise ResponseTooLargeError(
            f"the body has more than max_response_bytes ({max_bytes} bytes)"
        )


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
    hindrance = _hindrance(error)
    if hindrance is not None:
        return TransportError(hindrance, sent=False)
    if isinstance(error, OSError):
        return TransportError(f"{name}: {error}")
    if isinstance(error, zlib.error):
        return TransportError(f"the body cannot be unpacked: {error}")
    if isinstance(error, aiohttp.ClientError | HttpProcessingError | EOFError):
        return TransportError(f"the answer is cut off, or no HTTP: {name}")
    # Raised before anything is sent, such as for a session whose own auth contradicts the token, or
    # whose proxy is no URL.
    return ConfigError(f"session: aiohttp refuses the request: {name}")


def _hindrance(error: Exception) -> str | None:
    """Why there was no connection to send the request over; None where there was one."""
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or error.os_error
        return f"cannot connect to {error.host}:{error.port}: {reason}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "connecting took longer than connect_timeout_s"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy refuses the tunnel: it answered {error.status}"
    return None
