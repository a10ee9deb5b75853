"""Transport: a thin layer over aiohttp. One request in, one response out.

With `connections`, the only file that uses aiohttp's client. Its exceptions, and those of the
operating system, end here: callers get a `SpotBillingError` that quotes nothing of the request.
"""

import asyncio
import socket
import time
import zlib
from errno import EMFILE, ENFILE
from functools import partial
from math import inf

import aiohttp
from aiohttp.http import HttpProcessingError
from anyio import to_thread
from yarl import URL

from spot_billing_async._core.aio.tasks import is_being_cancelled
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call_record import CallRecord
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.connections import Body, CleanConnector, current
from spot_billing_async._core.http.gzip import check_size, read_pieces
from spot_billing_async._core.http.retry import REPEATABLE
from spot_billing_async._core.http.tls import Network, load_network
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

_TUNNEL_REFUSED = 407

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"spot-billing-async/{__version__}",
}


class Transport:
    """Connections to one server, over an aiohttp session of its own or of the caller.

    A session of the caller's own stays open, and keeps its connections.
    """

    def __init__(
        self, config: ClientConfig, base_url: str, callers_session: aiohttp.ClientSession | None
    ) -> None:
        if not isinstance(callers_session, aiohttp.ClientSession | None):
            raise ConfigError(f"session must be an aiohttp.ClientSession, got {callers_session!r}")
        if callers_session is not None and not config.has_default_network:
            raise ConfigError(
                "session cannot be combined with tls, proxy, trust_env, reuse_connections or "
                "keepalive_s of the config: set them in the session"
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
        # The rest is limited by the watch over attempts, and by the call's deadline. In a session
        # of the caller's own, `connect` would include the wait for one of its connections.
        limited = "connect" if callers_session is None else "sock_connect"
        self._timeout = aiohttp.ClientTimeout(
            total=None, ceil_threshold=inf, **{limited: config.connect_timeout_s}
        )
        self._callers_session = callers_session
        # Connections of the caller's session that may be idle: at most as many requests may each
        # take one for dead. aiohttp does not say which connection it uses.
        self._callers_idle = 0
        # A session of its own adds the common headers, in half the time.
        self._common_headers = {} if callers_session is None else _HEADERS
        self._proxy_login: Secret | None = None
        self.session: aiohttp.ClientSession | None = None  # while the transport is closed

    async def open(self) -> None:
        """Make the aiohttp session, unless the caller brought one.

        Raises:
            ConfigError: the transport is open, or a file or a proxy cannot be used.
            TransportError: no thread can be started.
        """
        config, network = self._config, Network()
        if not config.has_default_network:
            try:
                load = partial(load_network, trust_env=config.trust_env)
                network = await to_thread.run_sync(load, config.tls, config.proxy, self._base_url)
            except (MemoryError, RuntimeError) as error:
                raise _translated(error) from None
        if self.session is not None:
            raise ConfigError("client is entered already; use one 'async with' at a time")
        # asyncio reads into buffers of 256 KiB. glibc maps a block of that size anew for each read,
        # a tenth of the time of a small request, until a larger block was freed once.
        bytes(_READ_BUFFER_BYTES)
        self.session = self._callers_session or self._new_session(network)

    def _new_session(self, network: Network) -> aiohttp.ClientSession:
        self._proxy_login = network.proxy_login
        session = aiohttp.ClientSession(
            connector=CleanConnector(
                limit=self._config.max_concurrency,
                ssl=network.context or True,
                keepalive_s=self._config.keepalive_s if self._config.reuse_connections else None,
            ),
            headers=_HEADERS,
            read_bufsize=_READ_BUFFER_BYTES,
            proxy=network.proxy_url,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        # aiohttp retries GET, PUT and DELETE by itself if a kept connection breaks. No report, no
        # `max_attempts` and no limiter would see such a request, so retries are decided in
        # `retry.decide` only. aiohttp has no public name for it.
        session._retry_connection = False  # noqa: SLF001  see above
        return session

    async def close(self) -> None:
        """Close the connections."""
        session, self.session = self.session, None
        if session is not None and session is not self._callers_session:
            await session.close()

    def distrust(self) -> None:
        """Let no open connection be used again, as one returned the answer to another query."""
        connector = None if self.session is None else self.session.connector
        if isinstance(connector, CleanConnector):
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
        self._begin(record)
        body = None if request.body is None else Body(request.body)
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
                data=body,
                headers=self._headers(request, token),
                proxy_headers=self._proxy_headers(),
                allow_redirects=False,  # a redirect would carry the token to another host
                raise_for_status=False,
                auto_decompress=False,
                timeout=self._timeout,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
            return await self._received(response, record, time.monotonic() - sent_s)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            raise TransportError("the connections were closed in the meantime") from None
        except SpotBillingError:
            raise
        except Exception as error:  # noqa: BLE001  no foreign exception leaves this file
            raise _failure(error, record, body) from None

    def _begin(self, record: CallRecord) -> None:
        """Reset the record of the last attempt."""
        record.body = None
        if self._callers_session is None:
            current.set(record)
            # Negative until it is connected, which has a limit of its own.
            record.silent_s, record.is_kept = -inf, False
        else:
            record.silent_s, record.is_kept = 0.0, self._callers_idle > 0
            self._callers_idle -= record.is_kept

    async def _received(
        self, response: aiohttp.ClientResponse, record: CallRecord, waited_s: float
    ) -> Response:
        """Read the body of a response, and give back its connection."""
        record.body, record.seen_bytes = response.content, 0
        record.fault = "stale" if record.is_kept and response.status in REPEATABLE else ""
        record.is_kept = False  # from here on, the connection is known to work
        if record.is_timed:
            record.lap("first_byte_s")
        try:
            read = await _read(response, waited_s, self._config.max_response_bytes)
            self._callers_idle += response.headers.get("Connection") != "close"
            return read
        finally:
            record.received_bytes += response.content.total_bytes
            if response.connection is not None:  # else the body is read, and it is free again
                response.release()  # closes it: the rest of the body is not wanted
            if record.is_timed:
                record.lap("body_s")

    def _headers(self, request: Request, token: Secret) -> dict[str, str]:
        # A function of its own that raises nothing: a frame that raises must not hold the token.
        headers = {**self._common_headers, "Authorization": f"Bearer {token.reveal()}"}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        return headers

    def _proxy_headers(self) -> dict[str, str] | None:
        login = self._proxy_login
        return None if login is None else {"Proxy-Authorization": login.reveal()}


async def _read(response: aiohttp.ClientResponse, waited_s: float, max_bytes: int) -> Response:
    """Read a response. A body that takes too long to decode at once stays in pieces."""
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


def _failure(error: Exception, record: CallRecord, body: Body | None) -> SpotBillingError:
    """Return the error of this package for an attempt's, and note what it means for retries."""
    failure = _translated(error)
    if not isinstance(failure, TransportError) or record.body is not None:
        return failure
    if record.is_kept and isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        record.fault = "stale" if failure.sent else ""
    elif _lacks_files(error):
        record.fault = "no files"
    is_unsent = failure.sent and body is not None and not body.is_sent
    return TransportError(failure.message, sent=False) if is_unsent else failure


def _translated(error: Exception) -> SpotBillingError:
    """Return the error of this package for a foreign one.

    It quotes only the operating system: aiohttp quotes what the server sent, which may be the
    token.
    """
    name, is_permanent = type(error).__name__, False
    match error:
        # In the first three cases no connection was made, so nothing was sent.
        case aiohttp.ClientConnectorError():
            problem = f"cannot connect to {error.host}:{error.port}: "
            problem += str(error.os_error.strerror or error.os_error)
            is_permanent = isinstance(error, aiohttp.ClientConnectorCertificateError)
        case aiohttp.ConnectionTimeoutError():
            problem = "connecting took longer than connect_timeout_s"
        case aiohttp.ClientHttpProxyError():
            problem = f"the proxy refuses the tunnel: it answered {error.status}"
            is_permanent = error.status == _TUNNEL_REFUSED
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
    return TransportError(problem, sent=False, permanent=is_permanent)


def _lacks_files(error: Exception) -> bool:
    """Return whether a connection failed because too many files are open."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):  # the resolver does not say why
        try:
            socket.socket().close()
        except OSError as reason:
            error = reason
    return isinstance(error, OSError) and error.errno in {EMFILE, ENFILE}
