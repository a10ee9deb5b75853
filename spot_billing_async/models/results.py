"""Envelope around every response of the API, and what calls make of it.

`request` and `status` may have any shape, as the contract's examples have a bare string in place of
an object. What decides about completeness is strict: items, count, errors and the next page's key.
"""

from collections.abc import Mapping
from decimal import Decimal
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


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a setup or validation call.

    Attributes:
        request_id: the server's id of the request, for support; None where it gave none.
        status: outcome from the response's envelope; None where the body is empty.
        items: `response.items` as plain data (dict, list, str, int, Decimal, bool, None).
    """

    request_id: str | None = None
    status: ResponseStatus | None = None
    items: list[Any] = []


class Answer(msgspec.Struct, Generic[T]):
    """Items of all pages of a call. The repr shows only how many there are."""

    items: list[T]  # in the server's order
    request_id: str | None  # of the last page's request; None where the server gave none
    status: ResponseStatus | None  # of the last page; None where its body is empty
    # Exact sum of costs by currency; empty without amounts, or if the call did not ask for totals.
    totals: Mapping[str, Decimal]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.items)} items)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("items", len(self.items))]  # rich would show the rows
