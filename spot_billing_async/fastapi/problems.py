"""What the app's callers are told of an error: problem+json (RFC 9457), by pure functions.

An error that its caller can do something about is told in full. Of all others a caller is told what
kind it is, and the log has the rest: what it says may be of the backend's insides.
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
    PermissionDeniedError,
    RateLimitedError,
    RequestLimitReachedError,
    SpotBillingError,
    TransportError,
)

_log = logging.getLogger("spot_billing_async.fastapi")

_INTERNAL_ERROR = 1011  # a WebSocket's close code, RFC 6455

_STATUSES = (  # the first that fits
    (ArgumentError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidRequestError, HTTPStatus.BAD_REQUEST),
    (PermissionDeniedError, HTTPStatus.FORBIDDEN),
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (RateLimitedError, HTTPStatus.TOO_MANY_REQUESTS),
    (RequestLimitReachedError, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceededError, HTTPStatus.GATEWAY_TIMEOUT),
    ((ApiError, DecodeError, TransportError), HTTPStatus.BAD_GATEWAY),
)
_HANDED_ON = {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE}
"""The API's statuses that mean the same in an answer of this app."""

_DETAILS = {
    HTTPStatus.INTERNAL_SERVER_ERROR: "This service is not set up as it should be.",
    HTTPStatus.BAD_GATEWAY: "The billing API gave no answer that can be used.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The billing API takes no more requests for now.",
    HTTPStatus.GATEWAY_TIMEOUT: "The billing API did not answer in time.",
}


def status_of(error: SpotBillingError) -> HTTPStatus:
    """The status to answer a request with that met this error.

    What the request's own values may have caused is a 4xx: bad input 422 (400 where the API said
    so), no permission 403, unknown id 404, conflict 409. A quota that is used up is 429. What lies
    between this app and the API is a 5xx: the API is overloaded 503, out of time 504, anything else
    502, a bad token of the app's included. 500 is the app's own setup.
    """
    if isinstance(error, DeadlineExceededError) and error.retry_after_s is not None:
        return HTTPStatus.TOO_MANY_REQUESTS
    if isinstance(error, ApiError) and error.status in _HANDED_ON:
        return HTTPStatus(error.status)
    met = (status for kind, status in _STATUSES if isinstance(error, kind))
    return next(met, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: SpotBillingError) -> Record:
    """A problem's members: those of RFC 9457, the error's class, and the API's codes and id."""
    status = status_of(error)
    problem: Record = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": _DETAILS.get(status) or str(error),
        "error": type(error).__name__,
    }
    if isinstance(error, ApiError):
        problem |= {"codes": error.codes, "request_id": error.request_id}
    return problem


def retry_after_s(error: SpotBillingError) -> int | None:
    """After how many whole seconds a caller may try again, where the API has said so."""
    asked_s = error.retry_after_s if isinstance(error, ApiError | DeadlineExceededError) else None
    told = status_of(error) in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
    return ceil(asked_s) if asked_s is not None and told else None


def problem_response(error: SpotBillingError) -> Response:
    """The answer to a request that met an error."""
    after_s = retry_after_s(error)
    return Response(
        msgspec.json.encode(problem_of(error)),
        int(status_of(error)),
        {"Retry-After": str(after_s)} if after_s is not None else None,
        "application/problem+json",
    )


def add_error_handlers(app: Starlette) -> None:
    """Have every `SpotBillingError` that leaves an endpoint answered with problem+json.

    429 and 503 carry `Retry-After` where the API said when. A WebSocket is closed with 1011. What
    is answered with a 5xx is logged, as a warning of the logger `spot_billing_async.fastapi`.
    """
    app.add_exception_handler(SpotBillingError, _answer)  # type: ignore[arg-type]  # for both kinds


async def _answer(connection: HTTPConnection, error: Exception) -> Response | None:
    if not isinstance(error, SpotBillingError):
        raise error  # it is registered for no other
    status = status_of(error)
    if status in _DETAILS:
        _log.warning("answered with %d: %s: %s", status, type(error).__name__, error)
    if isinstance(connection, WebSocket):
        with suppress(RuntimeError, WebSocketDisconnect):  # it is closed, or its caller has left
            await connection.close(_INTERNAL_ERROR, status.phrase)
        return None
    return problem_response(error)
