"""Transport: a thin layer over aiohttp. One request in, one response out.

The only file that uses aiohttp's client. Its exceptions, and those of the operating system, end
here: callers get a `SpotBillingError` that quotes nothing of the request.
"""

import asyncio
import select
import time
import zlib
from ssl import SSLContext
from types import SimpleNamespace

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError
from aiohttp.tracing import Trace
from anyio import to_thread
from yarl import URL

from spot_billing_async._core.aio.tasks import is_being_cancelled
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.gzip import check_size, read_pieces
from spot_billing_async._core.http.tls import Network, load_network, without_credentials
from spot_billing_async._core.protocol.request import Request
from spot_billing_async._core.protocol.response import Response, content_codings
from spot_billing_async._core.protocol.streaming_decoder import LARGE_BYTES
from spot_billing_async.errors import (
    CLIENT_IS_NOT_OPEN,
    ConfigError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.version import __version__

_READ_BUFFER_BYTES = 1024 * 1024
"""aiohttp pauses reading beyond it. With less, pauses take a sixth of the time of a page of 1,000
rows."""

_MAX_HEADER_BYTES = 64 * 1024
"""Largest status line or header of a response. Some proxies add headers above aiohttp's 8 KB."""

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"spot-billing-async/{__version__}",
}


class Transport:
    """Connections to one server, over an aiohttp session.

    Args:
        config: limits, and the connection to the server.
        base_url: checked base URL of the server.
        callers_session: session of the caller, which stays open; None for one of its own.
        times_connecting: measure the time of connecting separately from that of the first byte,
            at a small cost per request.

    Raises:
        ConfigError: the settings contradict the session or the server.

    Attributes:
        session: aiohttp session; None while the transport is closed.
    """

    def __init__(
        self,
        config: ClientConfig,
        base_url: str,
        callers_session: aiohttp.ClientSession | None,
        *,
        times_connecting: bool = False,
    ) -> None:
        if not isinstance(callers_session, aiohttp.ClientSession | None):
            raise ConfigError(f"session must be an aiohttp.ClientSession, got {callers_session!r}")
        if callers_session is not None and not config.has_default_network:
            raise ConfigError(
                "session cannot be combined with tls, proxy, trust_env or reuse_connections of the "
                "config: set them in the session"
            )
        if config.proxy is not None and not base_url.startswith("https:"):
            raise ConfigError(
                f"proxy must be used with an https base_url: {config.proxy!r} would see the token "
                f"on its way to {base_url!r}"
            )
        self._config = config
        self._base_url = base_url
        self._base = URL(base_url, encoded=True)
        self._base_path = self._base.raw_path.rstrip("/")
        # Everything but connecting is limited by the call's deadline.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=config.connect_timeout_s)
        self._callers_session = callers_session
        # A session of its own adds the common headers, in half the time.
        self._common_headers = {} if callers_session is None else _HEADERS
        self._times_connecting = times_connecting
        self._proxy_credentials: Secret | None = None
        self.session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: the transport is open, or a file or a proxy cannot be used.
            TransportError: no thread can be started.
        """
        config, network = self._config, Network()
        if not config.has_default_network:
            try:
                network = await to_thread.run_sync(
                    lambda: load_network(
                        config.tls, config.proxy, self._base_url, trust_env=config.trust_env
                    )
                )
            except (MemoryError, RuntimeError) as error:
                raise _translated(error) from None
        if self.session is not None:
            raise ConfigError("client is entered already; use one 'async with' at a time")
        # asyncio reads into buffers of 256 KiB. glibc maps a block of that size anew for each read,
        # a tenth of the time of a small request, until a larger block was freed once.
        bytes(_READ_BUFFER_BYTES)
        self.session = self._callers_session or self._new_session(network)

    def _new_session(self, network: Network) -> aiohttp.ClientSession:
        proxy = None
        if network.proxy is not None:
            # Sent as a header: aiohttp's warnings show the URLs of proxies, and their logins.
            proxy, self._proxy_credentials = without_credentials(network.proxy)
        session = aiohttp.ClientSession(
            connector=_CleanConnector(
                limit=self._config.max_concurrency,
                ssl=network.context or True,
                force_close=not self._config.reuse_connections,
            ),
            headers=_HEADERS,
            read_bufsize=_READ_BUFFER_BYTES,
            proxy=proxy,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_connection_times()] if self._times_connecting else None,
        )
        # aiohttp retries GET, PUT and DELETE by itself if a kept connection breaks. No report, no
        # `max_attempts` and no limiter would see such a request, so retries are decided in
        # `retry.decide` only. aiohttp has no public name for it.
        session._retry_connection = False  # noqa: SLF001  see above
        return session

    async def close(self) -> None:
        """Close the connections, unless they are the caller's."""
        session, self.session = self.session, None
        if session is not None and session is not self._callers_session:
            await session.close()

    def distrust(self) -> None:
        """Do not reuse the connections that are open now: one returned the answer to another query.

        A session of the caller's own keeps its connections.
        """
        connector = None if self.session is None else self.session.connector
        if isinstance(connector, _CleanConnector):
            connector.generation += 1

    async def exchange(self, request: Request, token: Secret, record: CallRecord) -> Response:
        """Send a request and read the whole response.

        Raises:
            ConfigError: the transport was closed in the meantime, or the caller's session does not
                accept a token.
            TransportError: no complete response was received.
            ResponseTooLargeError: the body is larger than `max_response_bytes`.
        """
        base, session, sent_s = self._base, self.session, time.monotonic()
        if session is None or session.closed:  # race: closed while the request waited for a permit
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        try:
            response = await session.request(
                request.operation.method,
                # Built from its parts: parsing the text takes twice the time.
                URL.build(
                    scheme=base.scheme,
                    authority=base.raw_authority,
                    path=self._base_path + request.path,
                    query_string=request.query,
                    encoded=True,
                ),
                data=request.body,
                headers=self._headers(request, token),
                proxy_headers=self._proxy_headers(),
                allow_redirects=False,  # a redirect would carry the token to another host
                raise_for_status=False,
                auto_decompress=False,
                timeout=self._timeout,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
                trace_request_ctx=record,
            )
            waited_s = time.monotonic() - sent_s
            if record.is_timed:
                record.lap("first_byte_s")
            try:
                return await _read(response, waited_s, self._config.max_response_bytes)
            finally:
                record.received_bytes += response.content.total_bytes
                if response.connection is not None:  # else the body is read, and it is free again
                    response.release()  # closes it: the rest of the body is not wanted
                if record.is_timed:
                    record.lap("body_s")
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise TransportError("the connections were closed in the meantime") from None
        except SpotBillingError:
            raise
        except Exception as error:  # noqa: BLE001  no foreign exception leaves this file
            raise _translated(error) from None

    def _headers(self, request: Request, token: Secret) -> dict[str, str]:
        # A function of its own that raises nothing: a frame that raises must not hold the token.
        headers = {**self._common_headers, "Authorization": f"Bearer {token.reveal()}"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _proxy_headers(self) -> dict[str, str] | None:
        credentials = self._proxy_credentials
        return None if credentials is None else {"Proxy-Authorization": credentials.reveal()}


class _CleanConnector(aiohttp.TCPConnector):
    """Connection pool that does not reuse a connection on which anything arrived while it was idle.

    aiohttp keeps such bytes, and would return them as the response to the next request: another
    account's rows, or another tenant's.

    Attributes:
        generation: generation of new connections; one of an earlier generation is closed, not
            reused.
    """

    def __init__(self, *, limit: int, ssl: SSLContext | bool, force_close: bool) -> None:
        super().__init__(limit=limit, ssl=ssl, force_close=force_close)
        self.generation = 0
        # One per connection: one per request took 1.4 % more instructions of a small call.
        self._polls: dict[ResponseHandler, tuple[select.poll, int]] = {}

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's own parameter
    ) -> aiohttp.connector.Connection:
        """Return a new connection, or a kept one on which nothing arrived; close the others."""
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  it is open
            known = self._polls.get(protocol)
            poll, generation = known or self._watch(protocol)
            # Bytes are still in the kernel if the host's own code blocked the event loop meanwhile.
            has_unread = bool(poll.poll(0))
            if has_unread:
                # Over TLS 1.3 it may be a session ticket. Two turns of the loop read it, or find
                # more: one until the selector reports the socket, one until its callback has run.
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    connection.close()  # it would stay in use for ever
                    raise
                has_unread = connection.closed or bool(poll.poll(0))
            if not (has_unread or protocol.should_close or generation != self.generation):
                return connection
            connection.close()
            if known is None:
                raise aiohttp.ServerDisconnectedError("a response came before the request")

    def _watch(self, protocol: ResponseHandler) -> tuple[select.poll, int]:
        """Make the poll of a new connection, and drop those of connections that are closed."""
        if len(self._polls) > 2 * self.limit:
            self._polls = {each: poll for each, poll in self._polls.items() if each.is_connected()}
        poll = select.poll()
        transport = protocol.transport
        assert transport is not None  # noqa: S101  it is connected
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._polls[protocol] = watched = poll, self.generation
        return watched


def _connection_times() -> aiohttp.TraceConfig:
    """Return a trace that records the time of connecting in the record of the call."""

    async def starts(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.lap("queued_s")

    async def ends(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.lap("connect_s")

    times = aiohttp.TraceConfig()
    times.on_connection_create_start.append(starts)
    times.on_connection_create_end.append(ends)
    return times


async def _read(response: aiohttp.ClientResponse, waited_s: float, max_bytes: int) -> Response:
    """Read a response. A body that takes too long to decode at once stays in pieces.

    Raises:
        zlib.error: the body is not gzip, or was cut off.
        ResponseTooLargeError: the body is larger than `max_bytes`.
    """
    status, headers = response.status, response.headers
    if response.content.is_eof() and "Content-Encoding" not in headers:
        # A small body arrives with the headers: it is there without waiting.
        body = response.content.read_nowait()
        check_size(len(body), max_bytes)
        pieces = [body] if body else []
    else:
        try:
            chunks, codings = response.content.iter_any(), content_codings(response.headers)
            pieces = await read_pieces(chunks, codings, max_bytes)
        except zlib.error:
            if response.ok:
                raise
            pieces = []  # the status of an error says enough
    if len(pieces) == 1:
        return Response(status, headers, pieces[0], waited_s=waited_s)
    if sum(map(len, pieces)) > LARGE_BYTES:
        return Response(status, headers, pieces[0], pieces=pieces, waited_s=waited_s)
    # An empty body that ends only with the connection may have been cut off. A response without an
    # HTTP version came over no wire: a test double, which is complete.
    end_is_marked = (
        bool(pieces)
        or "Content-Length" in headers
        or "chunked" in headers.get("Transfer-Encoding", "").lower()
        or response.version is None
    )
    return Response(status, headers, b"".join(pieces), end_is_marked, waited_s=waited_s)


def _translated(error: Exception) -> SpotBillingError:
    """Return the error of this package for a foreign one.

    It quotes only the operating system: aiohttp quotes what the server sent, which may be the
    token.
    """
    name = type(error).__name__
    match error:
        # In the first three cases no connection was made, so nothing was sent.
        case aiohttp.ClientConnectorError():
            problem = f"cannot connect to {error.host}:{error.port}: "
            problem += str(error.os_error.strerror or error.os_error)
        case aiohttp.ConnectionTimeoutError():
            problem = "connecting took longer than connect_timeout_s"
        case aiohttp.ClientHttpProxyError():
            problem = f"the proxy refuses the tunnel: it answered {error.status}"
        case OSError():
            return TransportError(f"{name}: {error}")
        case MemoryError():
            return TransportError("out of memory")
        case RuntimeError() if "thread" in str(error):
            problem = "no thread can be started"
        case zlib.error():
            return TransportError(f"the body cannot be decompressed: {error}")
        case aiohttp.ClientError() | HttpProcessingError() | EOFError():
            return TransportError(f"the response is cut off, or not HTTP: {name}")
        case _:
            # Raised before anything is sent, for example by a session whose own auth contradicts
            # the token, or whose proxy is not a URL.
            return ConfigError(f"session: aiohttp refuses the request: {name}")
    return TransportError(problem, sent=False)
