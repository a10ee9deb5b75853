"""ASGI middleware that applies the deadline of a request to the client's calls."""

from contextlib import nullcontext

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from spot_billing_async._core.aio.deadline import deadline
from spot_billing_async.errors import ArgumentError
from spot_billing_async.fastapi.problems import problem_response
from spot_billing_async.models.validation import check_seconds


class RequestDeadline:
    """ASGI middleware: calls and pulls end when the caller of a request no longer waits.

    The caller sends a header with the seconds that it waits, counted from the arrival of the
    request. Calls and pulls made for that request have this deadline, as inside
    `spot_billing_async.deadline`, and fail with a `DeadlineExceededError` when it passes. The
    client's own `deadline_s` still applies; the earlier deadline wins. A header that is not a
    number of seconds above 0 is answered with status 422, and the app is not called.

        app.add_middleware(RequestDeadline, default_s=30.0)

    Args:
        app: the wrapped ASGI app; `app.add_middleware` passes it.
        header: name of the header.
        default_s: deadline in seconds of requests without the header; None (the default) sets
            none, so that only the client's `deadline_s` applies.

    Raises:
        ConfigError: `default_s` is not a number of seconds above 0.
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
        """Serve one request, WebSocket or lifespan; only a request gets a deadline."""
        try:
            deadline_s = self._deadline_s(scope)
        except ArgumentError as error:
            await problem_response(error)(scope, receive, send)
            return
        with nullcontext() if deadline_s is None else deadline(deadline_s):
            await self._app(scope, receive, send)

    def _deadline_s(self, scope: Scope) -> float | None:
        """Return the deadline of a request in seconds; None for none.

        Raises:
            ArgumentError: the header is not a number of seconds above 0.
        """
        if scope["type"] != "http":
            return None
        value = Headers(scope=scope).get(self._header)
        if value is None:
            return self._default_s
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        # `float` also accepts 'nan' and 'inf'.
        if not 0 < seconds < float("inf"):
            raise ArgumentError(f"{self._header} must be a number of seconds > 0, got {value!r}")
        return seconds
