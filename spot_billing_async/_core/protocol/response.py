"""Parsing of responses: status, headers and bytes become a `Page` of items or an error.

Nothing here does I/O.
"""

import asyncio
import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import ItemDecoder, SaidByRows, add_totals
from spot_billing_async._core.protocol.error_mapping import (
    FIRST_ERROR_STATUS,
    error_code,
    header_request_id,
    read_error,
)
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async._core.protocol.pagination import Page
from spot_billing_async._core.protocol.streaming_decoder import LargeList, StreamingDecoder
from spot_billing_async.errors import DecodeError
from spot_billing_async.models.results import Envelope, ResponseStatus

T = TypeVar("T")

_LONGEST_KEY = 4_096
_NO_CONTENT = 204
_SUCCESS = {200, 201, 202, 203, _NO_CONTENT}  # no 206: a partial body is never requested


class Response(msgspec.Struct):
    """Complete HTTP response. Its repr shows no header and no body, as a server may echo a token.

    A body that is too large to be decoded at once is in `pieces`, which are removed as they are
    parsed; `body` holds its beginning only.
    """

    status: int
    headers: Mapping[str, str]  # case-insensitive
    body: bytes  # decompressed
    end_is_marked: bool = True  # by a length or a last chunk, not only by the closed connection
    pieces: list[bytes] = []
    waited_s: float = 0.0  # from the request to the head of the response, connecting included

    def __post_init__(self) -> None:
        self.body = self.body.removeprefix(BOM_UTF8)

    def __repr__(self) -> str:
        return f"Response(status={self.status})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("status", self.status)]  # rich would show headers and body


def content_codings(headers: Mapping[str, str]) -> list[str]:
    """Return the names of a body's compressions, in lower case; `x-gzip` is named gzip."""
    names = re.split(r"[\s,]+", headers.get("Content-Encoding", "").lower())
    return [name.removeprefix("x-") for name in names if name not in {"", "identity"}]


def parse_response(
    operation: Operation, response: Response, decoder: ItemDecoder[T], token: Secret
) -> Page[T]:
    """Parse a response whose body is small enough to be decoded at once.

    The token of the request is removed from everything that an error carries.

    Raises:
        ApiError: the status, or the body of a 2xx, is an error.
        DecodeError: the response cannot be trusted.
    """
    if response.status not in _SUCCESS:
        raise read_error(operation, response.status, response.headers, response.body, token)
    body = response.body
    if not body or body.isspace():
        return _empty_page(operation, response, token)
    envelope = decoder.decode(operation.operation_id, body, token)
    page = _page_of(operation, response, envelope, None, token)
    page.totals = decoder.totals(operation.operation_id, page.items, body, token)
    page.body = body
    return page


async def parse_large_response(
    operation: Operation, response: Response, decoder: ItemDecoder[T], token: Secret
) -> Page[T]:
    """Parse a large response a few items at a time, so that the event loop is never blocked long.

    Arguments and errors are those of `parse_response`.
    """
    if response.status not in _SUCCESS:
        raise read_error(operation, response.status, response.headers, response.body, token)
    name = operation.operation_id
    items: list[T] = LargeList()
    totals: dict[str, Decimal] = {}
    said: SaidByRows = set(), set()
    bad_amount: DecodeError | None = None

    def decode(text: bytes) -> list[T] | None:
        nonlocal totals, bad_amount
        batch = decoder.decode_list(name, text, token)
        if batch is None:
            return None
        accounts, days = decoder.said_by_rows(batch, text)
        said[0].update(accounts)
        said[1].update(days)
        if bad_amount is None:
            try:
                totals = add_totals(name, totals, decoder.totals(name, batch, text, token))
            except DecodeError as error:
                # The envelope comes first, as in a small body: it may hold the server's own error.
                bad_amount = error
        return batch

    stream = StreamingDecoder(decode)
    response.pieces.reverse()
    while response.pieces:  # popping frees each piece as soon as it is parsed
        for batch in stream.feed(response.pieces.pop()):
            items += batch
            await asyncio.sleep(0)
    last, outline = stream.end()
    items += last
    # So that an error in it is read with all that it says.
    response.body = outline = outline.removeprefix(BOM_UTF8)
    batches = len(items)
    page = _page_of(operation, response, decoder.decode(name, outline, token), items, token)
    if bad_amount is not None:
        raise bad_amount
    rest = page.items[batches:]  # of a list that does not begin in the first 64 KB
    page.totals = add_totals(name, totals, decoder.totals(name, rest, outline, token))
    accounts, days = decoder.said_by_rows(rest, outline)
    page.said_by_rows = said[0] | accounts, said[1] | days
    page.checksum = stream.checksum
    return page


def _page_of(
    operation: Operation,
    response: Response,
    envelope: Envelope[T],
    decoded: list[T] | None,
    token: Secret,
) -> Page[T]:
    """Check an envelope and make its page, without totals and without the token.

    Items of a large body were decoded before its envelope; `decoded` is None for a small one.
    """
    content = envelope.response
    if content is None:
        raise DecodeError(f"{operation.operation_id}: the body has no 'response'")
    status, status_code, outcome = content.status, content.status, None
    if isinstance(status, dict):
        status_code, message = status.get("code"), status.get("message")
        outcome = ResponseStatus(
            status_code if isinstance(status_code, int) else None,
            token.removed_from(message) if isinstance(message, str) else None,
        )
    # Nearly every status is an int below 400, or missing: that needs no search for an error code.
    is_good = status is None or (type(status_code) is int and status_code < FIRST_ERROR_STATUS)
    if content.errors or not (is_good or error_code(status) is None):
        raise read_error(operation, response.status, response.headers, response.body, token)
    count = content.count
    if content.items is msgspec.UNSET and operation.method == "GET" and count != 0:
        raise DecodeError(f"{operation.operation_id}: the response has no 'items'")
    items = content.items or []
    if decoded is not None:
        decoded += items
        items = decoded
    if count is not None and count != len(items):
        raise DecodeError(
            f"{operation.operation_id}: count is {count}, but the response has {len(items)} items"
        )
    request_id = None if envelope.request is None else envelope.request.id
    next_key = total_count = None
    if (paging := content.pagination_info) is not None:
        total_count = paging.total_count
        next_key = _checked_key(operation, paging.next_key, token)
    return Page(
        items,
        header_request_id(response.headers, token)
        if request_id is None
        else token.removed_from(str(request_id)),
        outcome,
        {},
        next_key,
        total_count,
        echoed_url=None if envelope.request is None else envelope.request.url,
    )


def _checked_key(operation: Operation, given: str | int | None, token: Secret) -> str | None:
    """Return the key of the next page; None where there is none."""
    if given is None or given == "":
        return None
    key = str(given)
    if len(key) > _LONGEST_KEY:
        problem = f"the next page's key has more than {_LONGEST_KEY:,} characters"
        raise DecodeError(f"{operation.operation_id}: {problem}", permanent=True)
    if operation.method != "GET":  # fetching the next page would make the change twice
        problem = "the response has a next page, which only a list may have"
        raise DecodeError(f"{operation.operation_id}: {problem}", permanent=True)
    if token.is_in(key):  # it would be sent in a URL, which proxies log
        raise DecodeError(f"{operation.operation_id}: the next page's key holds the token")
    return key


def _empty_page(operation: Operation, response: Response, token: Secret) -> Page[Any]:
    """Return the page of a 2xx without a body, which the contract allows: it has no items."""
    headers = response.headers
    is_cut = bool(content_codings(headers)) or not response.end_is_marked
    if response.status != _NO_CONTENT and is_cut:
        raise DecodeError(
            f"{operation.operation_id}: the body is empty, and may have been cut off: "
            "nothing marks its end"
        )
    return Page([], header_request_id(headers, token), None, {}, None, None, is_blank=True)
