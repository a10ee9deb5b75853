"""Mapping of an error response to its error class and details. Pure."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from spot_billing_async import errors
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.json_text import UNREADABLE
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.rate_limit import retry_after_s
from spot_billing_async.errors import ApiError, RateLimitedError

K = TypeVar("K")

_EXCERPT_BYTES = 500
_MAX_CODES = 20

_REQUEST_ID_HEADERS = (
    "X-Request-Id",
    "Request-Id",
    "X-Correlation-Id",
    "X-Amzn-RequestId",
    "X-Amz-Cf-Id",
    "CF-Ray",
)
# Body codes that mean rate limiting with any HTTP status, by the vendor's documentation.
_RATE_LIMIT_CODES = {"throttling", "requestlimitexceeded"}

_ERRORS_BY_STATUS: dict[int, type[ApiError]] = {
    400: errors.InvalidRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.InvalidRequestError,
    429: RateLimitedError,
}
FIRST_ERROR_STATUS = 400
_FIRST_SERVER_ERROR_STATUS = 500
_LAST_STATUS = 999  # replaces any larger code in a body, which is an error but not an HTTP status
_LONGEST_CODE = 18  # digits; Python refuses to convert thousands of them to an int


def read_error(
    operation: Operation, status: int, headers: Mapping[str, str], body: bytes, token: Secret
) -> ApiError:
    """Return the error of a response, with all its details and without the token.

    An HTTP status below 400 is replaced by the code in the body, which may be an envelope, other
    JSON, HTML or nothing.
    """
    try:
        envelope = _as(dict, msgspec.json.decode(body))
    except UNREADABLE:
        envelope = {}
    request_id = _as(dict, envelope.get("request")).get("id")
    response = _as(dict, envelope.get("response"))
    details = response.get("status")
    entries = [_as(dict, entry) for entry in _as(list, response.get("errors"))]
    codes = [str(entry["code"]) for entry in entries if entry.get("code") is not None]
    # An entry's message says more than the status message; a 429 has its text in `data`.
    message = (
        "; ".join(filter(None, (_as(str, entry.get("message")) for entry in entries)))
        or _as(str, response.get("data"))
        or _as(str, _as(dict, details).get("message"))
    )
    if status < FIRST_ERROR_STATUS:
        status = error_code(details) or status
    limited = any(code.lower() in _RATE_LIMIT_CODES for code in codes)
    error_class = RateLimitedError if limited else _ERRORS_BY_STATUS.get(status)
    if error_class is None:
        error_class = errors.ServerError if status >= _FIRST_SERVER_ERROR_STATUS else ApiError
    stated_id = token.removed_from(str(request_id)) if isinstance(request_id, str | int) else ""
    return error_class(
        status,
        [token.removed_from(code) for code in codes[:_MAX_CODES]],
        token.removed_from(message),
        stated_id or header_request_id(headers, token),
        operation.operation_id,
        retry_after_s(headers, limited=error_class is RateLimitedError),
        token.excerpt(body, _EXCERPT_BYTES),
    )


def _as(kind: type[K], value: object) -> K:
    return value if isinstance(value, kind) else kind()


def error_code(status: object) -> int | None:
    """Return the error code in an envelope's status, at most 999; None where it has none.

    It is an object in the vendor's samples; a bare code, text and a list of objects are read too,
    as an error must not pass for no items. No recursion: the nesting may be deeper than the stack.
    """
    pending = [status]
    while pending:
        match pending.pop():
            case dict() as mapping:
                pending.append(mapping.get("code"))
            case list() as values:
                pending += reversed(values)
            case str() as text if text.isdecimal():
                pending.append(int(text) if len(text) <= _LONGEST_CODE else _LAST_STATUS)
            case int() as code if code >= FIRST_ERROR_STATUS:
                return min(code, _LAST_STATUS)
    return None


def header_request_id(headers: Mapping[str, str], token: Secret) -> str | None:
    """Return the request id from the headers, without the token; None where they have none."""
    found = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    # Bytes that are not UTF-8 arrive as lone surrogates, which no file could be written with.
    return None if found is None else token.removed_from(found.encode("utf-8", "replace").decode())
