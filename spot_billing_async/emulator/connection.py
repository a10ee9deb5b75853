"""Protocol of one connection: a time limit for request heads, and errors in the envelope."""

import asyncio
import sys
from http import HTTPStatus
from typing import Any

from aiohttp import EMPTY_PAYLOAD, StreamReader, web

from spot_billing_async.emulator.responses import ApiProblem, ErrorDetail, problem_response

_HEAD_TIMEOUT_S = 10
"""Seconds for the head of a request: from the connection, or from the first byte after the
request before. A kept connection on which nothing arrives stays open; that is not limited here."""


class Connection(web.RequestHandler):
    """Protocol handler of aiohttp that limits the time of a head and answers malformed requests.

    It does not log malformed requests, as aiohttp would: they may contain a token.
    """

    # Connections are keys of a weak dictionary (see chaos/).
    __slots__ = ("__weakref__", "_body", "_head_timer", "_is_answering")

    def __init__(self, manager: web.Server) -> None:
        loop = asyncio.get_running_loop()
        # None turns the access log off, although aiohttp's types do not allow it.
        super().__init__(manager, loop=loop, access_log=None)  # type: ignore[arg-type]  # see above
        self._head_timer: asyncio.TimerHandle | None = None
        self._body: StreamReader = EMPTY_PAYLOAD
        self._is_answering: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the time for the first head."""
        super().connection_made(transport)
        self._start_head_timer()

    def data_received(self, data: bytes) -> None:
        """Start the time for a head unless the bytes belong to the body of the last request."""
        # aiohttp itself calls this with no bytes when it resumes reading.
        if data and self._head_timer is None and self._body.is_eof():
            self._start_head_timer()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timer."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def head_received(self, request: web.BaseRequest) -> None:
        """Stop the time for a head: `request` is about to be answered."""
        self._stop_head_timer()
        self._body = request.content
        self._is_answering = True

    def answered(self) -> None:
        """Note that no request is being answered."""
        self._is_answering = False

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ANN401  as aiohttp has it
        """Log an error, except a race in aiohttp's shutdown.

        If the shutdown timeout ends just as a request completes, aiohttp sets the result of a
        future that is already done.
        """
        if not isinstance(sys.exc_info()[1], asyncio.InvalidStateError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  it may quote the request
    ) -> web.StreamResponse:
        """Return the response to a malformed request."""
        # A second response would be read as part of the body of the first.
        if request.writer.output_size:
            raise ConnectionError("the response has already been started") from exc
        detail = ErrorDetail(None, "malformed HTTP request", "BadRequest")
        response = problem_response(request, ApiProblem(HTTPStatus(status), [detail]))
        response.force_close()
        return response

    def _start_head_timer(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(_HEAD_TIMEOUT_S, self._end_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _end_head(self) -> None:
        # While a request is being answered, the bytes may be complete requests that wait for it.
        if self._is_answering:
            self._start_head_timer()
        else:
            self.force_close()
