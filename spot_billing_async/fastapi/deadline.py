"""The deadline of a request, handed on to the client."""

from contextlib import nullcontext

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from spot_billing_async._core.aio.deadline import deadline
from spot_billing_async.errors import ArgumentError
from spot_billing_async.fastapi.problems import problem_response
from spot_billing_async.models.validation import check_seconds


class RequestDeadline:
    """ASGI middleware: what the client does for a request ends when its caller no longer waits.

    A caller says in a header how many seconds it waits. Calls and pulls that are made for it have
    that deadline, counted from when the request came, as by `spot_billing_async.deadline`; the
    client's own `deadline_s` goes on to hold. A header that is no number of seconds above 0 is
    answered with a 422.

    Args:
        app: what it stands before; `app.add_middleware(RequestDeadline, …)` gives it.
        header: the name of the header.
        default_s: seconds for requests without the header; None leaves them the client's own.

    Raises:
        ArgumentError: `default_s` is no number of seconds above 0.
    """

    def __init__(
        self, app: ASGIApp, *, header: str = "X-Request-Timeout", default_s: float | None = None
    ) -> None:
        if default_s is not None:
            check_seconds("default_s", default_s)
        self._app = app
        self._header = header
        self._default_s = default_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        try:
            deadline_s = self._deadline_s(scope)
        except ArgumentError as error:
            await problem_response(error)(scope, receive, send)
            return
        with nullcontext() if deadline_s is None else deadline(deadline_s):
            await self._app(scope, receive, send)

    def _deadline_s(self, scope: Scope) -> float | None:
        if scope["type"] != "http":
            return None
        given = Headers(scope=scope).get(self._header)
        if given is None:
            return self._default_s
        try:
            seconds = float(given)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ArgumentError(
                f"{self._header}: {given!r} is not allowed; allowed: seconds above 0"
            )
        return seconds
