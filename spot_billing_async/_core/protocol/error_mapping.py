"""The error that an answer stands for: which one, and what the server says of it. Pure."""

from collections.abc import Mapping

import msgspec

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import UNREADABLE
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.rate_limit import retry_after_s
from spot_billing_async.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
)

_EXCERPT_BYTES = 500

_REQUEST_ID_HEADERS = (
    "X-Request-Id",
    "Request-Id",
    "X-Correlation-Id",
    "X-Amzn-RequestId",
    "X-Amz-Cf-Id",
    "CF-Ray",
)
# Body codes that mean rate limiting whatever the HTTP status, by the vendor's documentation.
_RATE_LIMIT_CODES = {"throttling", "requestlimitexceeded"}

_ERRORS_BY_STATUS: dict[int, type[ApiError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidRequestError,
    429: RateLimitedError,
}
_FIRST_ERROR_STATUS = 400
_FIRST_SERVER_ERROR_STATUS = 500
_LAST_STATUS = 999  # stands for any larger one that a body tells of: it is no status, but an error
_LONGEST_CODE = 18  # digits; Python refuses to read thousands of them as a number


def read_error(
    operation: Operation, status: int, headers: Mapping[str, str], body: bytes, token: Secret
) -> ApiError:
    """The error that an answer stands for, with all that it says and without the token."""
    said = _said_of_error(body)
    limited = any(code.lower() in _RATE_LIMIT_CODES for code in said.codes)
    if status < _FIRST_ERROR_STATUS and said.status is not None:
        status = said.status
    error_class = RateLimitedError if limited else _ERRORS_BY_STATUS.get(status)
    if error_class is None:
        error_class = ServerError if status >= _FIRST_SERVER_ERROR_STATUS else ApiError
    # A token that the cut would halve is taken in whole first.
    start = body[: _EXCERPT_BYTES + len(token)].decode("utf-8", "replace")
    return error_class(
        status,
        [token.removed_from(code) for code in said.codes],
        token.removed_from(said.message),
        token.removed_from(said.request_id or "") or header_request_id(headers, token),
        operation.operation_id,
        retry_after_s(headers, limited=error_class is RateLimitedError),
        token.removed_from(start)[:_EXCERPT_BYTES],
    )


class _Said(msgspec.Struct):
    """What the body of an error says, as far as it says anything."""

    status: int | None = None
    codes: list[str] = []
    message: str = ""
    request_id: str | None = None


def _said_of_error(body: bytes) -> _Said:
    """Read an error's body, which may be an envelope, other JSON, HTML or nothing."""
    said = _Said()
    try:
        envelope = msgspec.json.decode(body)
    except UNREADABLE:
        return said
    if not isinstance(envelope, dict):
        return said
    request = envelope.get("request")
    if isinstance(request, dict) and isinstance(request.get("id"), str | int):
        said.request_id = str(request["id"])
    response = envelope.get("response")
    if not isinstance(response, dict):
        return said
    status = response.get("status")
    said.status = error_code(status)
    said.message = _text(status.get("message")) if isinstance(status, dict) else ""
    errors = response.get("errors")
    entries = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
    said.codes = [str(entry["code"]) for entry in entries if entry.get("code") is not None]
    # An entry's message says more than the status line's; a 429 has its text in `data`.
    entry_messages = "; ".join(filter(None, (_text(entry.get("message")) for entry in entries)))
    said.message = entry_messages or _text(response.get("data")) or said.message
    return said


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def error_code(status: object) -> int | None:
    """The code of an error that an envelope's status tells of; None where it tells of none.

    It is an object by the vendor's samples; a bare code, text, or a list of objects is read too, as
    an error must not pass for an answer without items. However deep they are nested: no recursion,
    as what decodes may still be deeper than the stack.
    """
    left = [status]
    while left:
        match left.pop():
            case dict() as named:
                left.append(named.get("code"))
            case list() as several:
                left += reversed(several)
            case str() as text if text.isdecimal():
                left.append(int(text) if len(text) <= _LONGEST_CODE else _LAST_STATUS)
            case int() as code if code >= _FIRST_ERROR_STATUS:
                return min(code, _LAST_STATUS)
    return None


def header_request_id(headers: Mapping[str, str], token: Secret) -> str | None:
    """Bytes that are no UTF-8 come as lone surrogates, which no report or file could write."""
    found = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    return None if found is None else token.removed_from(found.encode("utf-8", "replace").decode())
