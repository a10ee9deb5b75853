"""Errors of the client as problem+json (RFC 9457) for the callers of an app.

A 4xx carries the message of the error, as the caller can act on it. A 5xx carries a fixed text: the
message may name internals of the backend, and goes to the log.
"""

import logging
from contextlib import suppress
from http import HTTPStatus
from math import ceil

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from spot_billing_async.bulk.records import Record
from spot_billing_async.errors import (
    ApiError,
    ArgumentError,
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    OutageError,
    PermissionDeniedError,
    RateLimitedError,
    RequestLimitReachedError,
    SpotBillingError,
    TransportError,
    printable,
)

_log = logging.getLogger("spot_billing_async.fastapi")

_INTERNAL_ERROR = 1011  # close code of a WebSocket, RFC 6455

_STATUSES = (  # the first match counts
    (ArgumentError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (PermissionDeniedError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (RateLimitedError, HTTPStatus.TOO_MANY_REQUESTS),
    ((OutageError, RequestLimitReachedError), HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT),
    ((ApiError, DecodeError, TransportError), HTTPStatus.BAD_GATEWAY),
)
_FORWARDED = {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE}
"""Statuses of the API that mean the same in a response of the app."""

_DETAILS = {
    HTTPStatus.INTERNAL_SERVER_ERROR: "This service is misconfigured.",
    HTTPStatus.BAD_GATEWAY: "The billing API returned no usable response.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The billing API accepts no more requests at the moment.",
    HTTPStatus.GATEWAY_TIMEOUT: "The billing API did not respond in time.",
}


def status_of(error: SpotBillingError) -> HTTPStatus:
    """Return the status of a response to a request that failed with this error.

    4xx, possibly caused by values of the request: 422 invalid input (400 if the API reported it),
    403 no permission, 404 unknown id, 409 conflict, 429 quota used up. 5xx, caused between app and
    API: 503 API overloaded, 504 deadline exceeded, 502 anything else, a refused token of the app
    included. 500 is a wrong configuration of the app.
    """
    # The call would have waited for the quota until after its deadline.
    if isinstance(error, DeadlineExceededError) and error.retry_after_s is not None:
        return HTTPStatus.TOO_MANY_REQUESTS
    if isinstance(error, ApiError) and error.status in _FORWARDED:
        return HTTPStatus(error.status)
    matches = (status for kind, status in _STATUSES if isinstance(error, kind))
    return next(matches, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: SpotBillingError) -> Record:
    """Return a problem: the members of RFC 9457, `error` (the class), `codes` and `request_id`."""
    status = status_of(error)
    problem: Record = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _DETAILS.get(status) or str(error),
        "error": type(error).__name__,
    }
    if isinstance(error, ApiError):
        problem |= {
            "codes": [printable(code) for code in error.codes],
            "request_id": None if error.request_id is None else printable(error.request_id),
        }
    return problem


def problem_response(error: SpotBillingError) -> Response:
    """Return the problem+json response that `add_error_handlers` sends for an error.

    Use it in an exception handler of your own:

        @app.exception_handler(RateLimitedError)
        async def count_refusals(request: Request, error: RateLimitedError) -> Response:
            refusals.inc()
            return problem_response(error)

    Status 429 and 503 have a `Retry-After` header if the API named a time.
    """
    status, headers = status_of(error), {}
    retry_after_s = (
        error.retry_after_s if isinstance(error, ApiError | DeadlineExceededError) else None
    )
    if retry_after_s is not None and status in {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }:
        # The header takes whole seconds; rounded down, a retry would come too early.
        headers["Retry-After"] = str(ceil(retry_after_s))
    return Response(
        msgspec.json.encode(problem_of(error)), int(status), headers, "application/problem+json"
    )


def add_error_handlers(app: Starlette) -> None:
    """Make an app respond with problem+json to every `SpotBillingError` that leaves an endpoint.

        app = FastAPI(lifespan=spot_billing_lifespan())
        add_error_handlers(app)

    Statuses: 422 or 400 invalid input, 403, 404, 409, 429 quota used up, 503 API overloaded, 504
    deadline exceeded, 502 other faults between app and API, 500 wrong configuration. 429 and 503
    have a `Retry-After` header if the API named a time. A WebSocket is closed with code 1011. Each
    5xx is logged as a warning of the logger `spot_billing_async.fastapi`.
    """
    # Starlette types a handler for requests or for WebSockets; this one takes both.
    app.add_exception_handler(SpotBillingError, _handle_error)  # type: ignore[arg-type]  # see above


async def _handle_error(connection: HTTPConnection, error: Exception) -> Response | None:
    if not isinstance(error, SpotBillingError):
        raise error  # unreachable: registered for no other class
    status = status_of(error)
    if status in _DETAILS:
        _log.warning("responded with %d: %s: %s", status, type(error).__name__, error)
    if isinstance(connection, WebSocket):
        # Race: the app may have closed it, or its caller may have left.
        with suppress(RuntimeError, WebSocketDisconnect):
            await connection.close(_INTERNAL_ERROR, status.phrase)
        return None
    return problem_response(error)
