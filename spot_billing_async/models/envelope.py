"""Envelope around every response of the API.

`request` and `status` are decoded leniently, as the contract's examples have a bare string in place
of an object. The parts that decide about completeness are decoded strictly: items, count, errors
and the key of the next page.
"""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class ResponseStatus(msgspec.Struct, frozen=True):
    """Outcome of a request, from the body's `response.status`.

    Attributes:
        code: a code like an HTTP status; None where the body has none.
        message: text of the server, with any token removed; None where the body has none.
    """

    code: int | None = None
    message: str | None = None


class PaginationInfo(msgspec.Struct, frozen=True, rename="camel"):
    """`response.paginationInfo`: number of items on all pages, and the key of the next page."""

    total_count: int | None = None
    next_key: str | int | None = None


class RequestInfo(msgspec.Struct, frozen=True):
    """`request` of an envelope: the server's id of the request, and the URL that it received."""

    id: str | int | None = None
    url: str | None = None


class ResponseEnvelope(msgspec.Struct, Generic[T], frozen=True, rename="camel"):
    """`response` of an envelope: the items and their metadata."""

    status: Any = None
    items: list[T] | msgspec.UnsetType | None = msgspec.UNSET
    count: int | None = None
    errors: Any = None
    pagination_info: PaginationInfo | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """Whole body of a response; `response` is None where the body has none."""

    request: RequestInfo | None = None
    response: ResponseEnvelope[T] | None = None
