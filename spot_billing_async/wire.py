"""Requests and answers as plain data; nothing here does I/O.

Down: an operation and its parameters become a `Request`. Up: status, headers and bytes become a
`Page` of items, or the error that they stand for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from spot_billing_async.errors import (
    ApiError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ServerError,
)
from spot_billing_async.items import UNREADABLE, ItemReader
from spot_billing_async.models.envelope import (
    Envelope,
    PaginationInfo,
    Response,
    ResponseStatus,
)
from spot_billing_async.operations import Operation
from spot_billing_async.pages import Page
from spot_billing_async.quota import retry_after_s
from spot_billing_async.secret import Secret

T = TypeVar("T")

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
_NO_CONTENT = 204
_SUCCESS = {200, 201, 202, _NO_CONTENT}  # a 206 is a part, and nobody asked for one
_FIRST_ERROR_STATUS = 400
_FIRST_SERVER_ERROR_STATUS = 500
_LAST_STATUS = 999  # stands for any larger one that a body tells of: it is no status, but an error
_LONGEST_CODE = 18  # digits; Python refuses to read thousands of them as a number


class _RequestInfo(msgspec.Struct):
    id: str | int | None = None


_request_info_decoder = msgspec.json.Decoder(_RequestInfo)


class Request(NamedTuple):
    """What is sent, but for the bearer token: that is the session's."""

    operation: Operation
    url: str
    body: bytes | None


@dataclass(slots=True, repr=False)
class Reply:
    """What came back, completely. Its repr shows no header and no body: a server may echo a token.

    Attributes:
        status: HTTP status.
        headers: looked up without regard to case.
        body: after decompression.
        end_is_marked: the body ends where a length or a last chunk says, not just where the
            connection was closed.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    end_is_marked: bool = True

    def __repr__(self) -> str:
        return f"Reply(status={self.status}, {len(self.body)} bytes)"


def build_request(
    operation: Operation,
    base_url: str,
    path: str,
    *,
    path_ids: Mapping[str, str],
    query: Mapping[str, str | None],
    body: Mapping[str, object] | None = None,
) -> Request:
    """Put a request together; every id and value is percent-encoded, so none can change its shape.

    Args:
        operation: what is asked for.
        base_url: a checked base URL.
        path: the operation's path, or what overrides it.
        path_ids: values of the path's parameters.
        query: query parameters; those that are None are left out.
        body: plain data to send as JSON; None sends no body.
    """
    encoded_ids = {name: quote(value, safe="") for name, value in path_ids.items()}
    url = base_url + path.format(**encoded_ids)
    present = {name: value for name, value in query.items() if value is not None}
    if present:
        url += "?" + urlencode(present, quote_via=quote, safe="")
    return Request(operation, url, None if body is None else msgspec.json.encode(body))


def read_page(operation: Operation, reply: Reply, reader: ItemReader[T], token: Secret) -> Page[T]:
    """Say what an answer means.

    Args:
        operation: what was asked for.
        reply: the whole answer.
        reader: decodes the items.
        token: what was sent with the request; it is cut out of everything an error carries.

    Raises:
        ApiError: the status, or the body of a 2xx, tells of an error.
        DecodeError: the answer cannot be trusted.
    """
    if reply.status not in _SUCCESS:
        raise read_error(operation, reply, token)
    if not reply.body.strip():
        return _empty_page(operation, reply, token)
    envelope = reader.decode(operation.operation_id, reply.body, token)
    response = envelope.response
    if response is None:
        raise DecodeError(f"{operation.operation_id}: the body has no response in it")
    if _error_code(response.status) is not None or response.errors:
        raise read_error(operation, reply, token)
    items = _read_items(operation, response, items_are_due=operation.method == "GET")
    paging = response.pagination_info
    return Page(
        items,
        reader.totals(operation.operation_id, items, reply.body, token),
        _request_id(envelope, reply.headers, token),
        _status(response.status, token),
        None if paging is None else _next_key(operation, paging, token),
        None if paging is None else paging.total_count,
        reply.body,
    )


def _next_key(operation: Operation, paging: PaginationInfo, token: Secret) -> str | None:
    """The key of the next page; None where there is none, or an empty one.

    Raises:
        DecodeError: it would take the token into a URL.
    """
    key = paging.next_key
    if key is None or key == "":
        return None
    if token.is_in(str(key)):
        raise DecodeError(f"{operation.operation_id}: the next page's key holds the token")
    return str(key)


def _empty_page(operation: Operation, reply: Reply, token: Secret) -> Page[Any]:
    """A 2xx without a body is legal by the contract and means 'no items'.

    Where only the closing of the connection ends the body, or where it was compressed, an empty
    one may as well be cut off.
    """
    headers = reply.headers
    is_compressed = headers.get("Content-Encoding", "identity") != "identity"
    if reply.status != _NO_CONTENT and (is_compressed or not reply.end_is_marked):
        raise DecodeError(
            f"{operation.operation_id}: no body came, and nothing tells that it was not cut off"
        )
    return Page([], {}, _header_request_id(headers, token), None, None, None, is_blank=True)


def _error_code(status: object) -> int | None:
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


def _status(status: object, token: Secret) -> ResponseStatus | None:
    """A status as far as it is an object with a code or a message."""
    if not isinstance(status, dict):
        return None
    code, message = status.get("code"), status.get("message")
    return ResponseStatus(
        code if isinstance(code, int) else None,
        token.removed_from(message) if isinstance(message, str) else None,
    )


def _read_items(operation: Operation, response: Response[T], *, items_are_due: bool) -> list[T]:
    items, count = response.items, response.count
    if items is msgspec.UNSET and items_are_due and count != 0:
        raise DecodeError(f"{operation.operation_id}: the response has no items in it")
    present = items or []
    if count is not None and count != len(present):
        raise DecodeError(
            f"{operation.operation_id}: count says {count}, but {len(present)} items came"
        )
    return present


def read_error(operation: Operation, reply: Reply, token: Secret) -> ApiError:
    """The error that an answer stands for, with all that it says and without the token."""
    said = _said_of_error(reply.body)
    limited = any(code.lower() in _RATE_LIMIT_CODES for code in said.codes)
    status = reply.status
    if status < _FIRST_ERROR_STATUS and said.status is not None:
        status = said.status
    error_class = RateLimitedError if limited else _ERRORS_BY_STATUS.get(status)
    if error_class is None:
        error_class = ServerError if status >= _FIRST_SERVER_ERROR_STATUS else ApiError
    # A token that the cut would halve is taken in whole first.
    start = reply.body[: _EXCERPT_BYTES + len(token)].decode("utf-8", "replace")
    return error_class(
        status,
        [token.removed_from(code) for code in said.codes],
        token.removed_from(said.message),
        token.removed_from(said.request_id or "") or _header_request_id(reply.headers, token),
        operation.operation_id,
        retry_after_s(reply.headers, limited=error_class is RateLimitedError),
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
    said.status = _error_code(status)
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


def _request_id(envelope: Envelope[Any], headers: Mapping[str, str], token: Secret) -> str | None:
    try:
        request_id = _request_info_decoder.decode(envelope.request).id
    except UNREADABLE:  # such as a bare string, as in the contract's own example
        request_id = None
    if request_id is None:
        return _header_request_id(headers, token)
    return token.removed_from(str(request_id))


def _header_request_id(headers: Mapping[str, str], token: Secret) -> str | None:
    """Bytes that are no UTF-8 come as lone surrogates, which no report or file could write."""
    found = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)
    return None if found is None else token.removed_from(found.encode("utf-8", "replace").decode())
