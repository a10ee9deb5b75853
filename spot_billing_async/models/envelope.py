"""The envelope that every answer of the API comes in.

`request` and `status` are read leniently (a bare string stands for an object in places), the parts
that decide about completeness are not: items, count, errors and the key of the next page.
"""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class ResponseStatus(msgspec.Struct, frozen=True):
    """`response.status`: a code like an HTTP status, and a text."""

    code: int | None = None
    message: str | None = None


class PaginationInfo(msgspec.Struct, frozen=True, rename="camel"):
    """`response.paginationInfo`: where more pages follow, `next_key` leads to the next one."""

    total_count: int | None = None
    next_key: str | int | None = None


class RequestInfo(msgspec.Struct, frozen=True):
    """`request` of an envelope: what the server says of the request."""

    id: str | int | None = None


class ResponseEnvelope(msgspec.Struct, Generic[T], frozen=True, rename="camel"):
    """`response` of an envelope: the items and what is said about them."""

    status: Any = None
    items: list[T] | msgspec.UnsetType | None = msgspec.UNSET
    count: int | None = None
    errors: Any = None
    pagination_info: PaginationInfo | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A whole answer. `response` is None where the body has none."""

    request: RequestInfo | None = None
    response: ResponseEnvelope[T] | None = None
