"""Requests and answers as plain data; nothing here does I/O.

Down: an operation and its parameters become a `Request`. Up: status, headers and bytes become a
`Page` of items, or the error that they stand for.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import ItemDecoder, added_totals
from spot_billing_async._core.protocol.error_mapping import (
    error_code,
    header_request_id,
    read_error,
)
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.pagination import Page
from spot_billing_async._core.protocol.streaming_decoder import LargeList, StreamingDecoder
from spot_billing_async.errors import DecodeError
from spot_billing_async.models.envelope import (
    Envelope,
    PaginationInfo,
    ResponseEnvelope,
    ResponseStatus,
)

T = TypeVar("T")


_NO_CONTENT = 204


_SUCCESS = {200, 201, 202, _NO_CONTENT}  # a 206 is a part, and nobody asked for one


@dataclass(slots=True, repr=False)
class Response:
    """What came back, completely. Its repr shows no header and no body: a server may echo a token.

    Attributes:
        status: HTTP status.
        headers: looked up without regard to case.
        body: after decompression; of one that is too large to be decoded at once, its beginning.
        end_is_marked: the body ends where a length or a last chunk says, not just where the
            connection was closed.
        pieces: all of a body that is too large to be decoded at once, until they are read; none of
            any other.
        waited_s: seconds from the request to the head of the answer; making a connection counts.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    end_is_marked: bool = True
    pieces: list[bytes] = field(default_factory=list)
    waited_s: float = 0.0

    def __repr__(self) -> str:
        return f"Response(status={self.status})"


def parse_response(
    operation: Operation, reply: Response, reader: ItemDecoder[T], token: Secret
) -> Page[T]:
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
    _require_success(operation, reply, token)
    body = reply.body
    if not body or body.isspace():
        return _empty_page(operation, reply, token)
    envelope = reader.decode(operation.operation_id, body, token)
    page = _page_of(operation, reply, envelope, None, token)
    page.totals = reader.totals(operation.operation_id, page.items, body, token)
    page.body = body
    return page


async def parse_large_response(
    operation: Operation, reply: Response, reader: ItemDecoder[T], token: Secret
) -> Page[T]:
    """Say what a large answer means, a few items at a time: the event loop goes on meanwhile.

    The arguments, and what is raised, are those of `parse_response`.
    """
    _require_success(operation, reply, token)
    name = operation.operation_id
    stream = StreamingDecoder(lambda text: reader.decode_list(name, text, token))
    items: list[T] = LargeList()
    totals: dict[str, Decimal] = {}
    reply.pieces.reverse()
    while reply.pieces:  # each is let go of once it is read
        for some in stream.feed(reply.pieces.pop()):
            totals = added_totals(name, totals, reader.totals(name, some, b"", token))
            items += some
            await asyncio.sleep(0)
    last, outline = stream.end()
    totals = added_totals(name, totals, reader.totals(name, last, outline, token))
    envelope = reader.decode(name, outline, token)
    items += last
    page = _page_of(operation, reply, envelope, items, token)
    page.totals, page.checksum = totals, stream.checksum
    return page


def _require_success(operation: Operation, reply: Response, token: Secret) -> None:
    if reply.status not in _SUCCESS:
        raise read_error(operation, reply.status, reply.headers, reply.body, token)


def _page_of(
    operation: Operation,
    reply: Response,
    envelope: Envelope[T],
    apart: list[T] | None,
    token: Secret,
) -> Page[T]:
    """What an envelope says; `apart` are items that were taken out of it, before its own."""
    response = envelope.response
    if response is None:
        raise DecodeError(f"{operation.operation_id}: the body has no response in it")
    if error_code(response.status) is not None or response.errors:
        raise read_error(operation, reply.status, reply.headers, reply.body, token)
    items = _read_items(operation, response, apart)
    paging = response.pagination_info
    return Page(
        items,
        {},
        _request_id(envelope, reply.headers, token),
        _status(response.status, token),
        None if paging is None else _next_key(operation, paging, token),
        None if paging is None else paging.total_count,
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


def _empty_page(operation: Operation, reply: Response, token: Secret) -> Page[Any]:
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
    return Page([], {}, header_request_id(headers, token), None, None, None, is_blank=True)


def _status(status: object, token: Secret) -> ResponseStatus | None:
    """A status as far as it is an object with a code or a message."""
    if not isinstance(status, dict):
        return None
    code, message = status.get("code"), status.get("message")
    return ResponseStatus(
        code if isinstance(code, int) else None,
        token.removed_from(message) if isinstance(message, str) else None,
    )


def _read_items(
    operation: Operation, response: ResponseEnvelope[T], apart: list[T] | None
) -> list[T]:
    items, count = response.items, response.count
    if items is msgspec.UNSET and operation.method == "GET" and count != 0:
        raise DecodeError(f"{operation.operation_id}: the response has no items in it")
    present = items or []
    if apart is not None:
        apart += present
        present = apart
    if count is not None and count != len(present):
        raise DecodeError(
            f"{operation.operation_id}: count says {count}, but {len(present)} items came"
        )
    return present


def _request_id(envelope: Envelope[Any], headers: Mapping[str, str], token: Secret) -> str | None:
    request_id = None if envelope.request is None else envelope.request.id
    if request_id is None:
        return header_request_id(headers, token)
    return token.removed_from(str(request_id))
