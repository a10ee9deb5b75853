"""The envelope that every answer of the API comes in.

`request` and `status` are read leniently (a bare string stands for an object in places), the parts
that decide about completeness are not: items, count, errors and the key of the next page.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

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


class Response(msgspec.Struct, Generic[T], frozen=True, rename="camel"):
    """`response` of an envelope: the items and what is said about them."""

    status: Any = None
    items: list[T] | msgspec.UnsetType | None = msgspec.UNSET
    count: int | None = None
    errors: Any = None
    pagination_info: PaginationInfo | None = None


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A whole answer. `response` is None where the body has none."""

    request: msgspec.Raw = msgspec.Raw(b"null")
    response: Response[T] | None = None


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a setup or validation call.

    Attributes:
        request_id: the server's id of the request, for support; None where it gave none.
        status: what the envelope says of the outcome; None where the body is empty.
        items: `response.items` as plain data (dict, list, str, int, Decimal, bool, None).
    """

    request_id: str | None = None
    status: ResponseStatus | None = None
    items: list[Any] = []


class Answer(NamedTuple, Generic[T]):
    """What a call came to: the items of all its pages.

    Attributes:
        items: every item, in the server's order.
        request_id: of the last page; None where the server gave none.
        status: what the envelope of the last page says; None where the body is empty.
        totals: exact sum of the items' costs by currency; empty where items carry no amounts.
    """

    items: list[T]
    request_id: str | None
    status: ResponseStatus | None
    totals: Mapping[str, Decimal]
