"""Results of calls: the items of all pages, or the acknowledgement of a change."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from spot_billing_async.models.envelope import ResponseStatus

T = TypeVar("T")


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
    """Result of a call: the items of all its pages. Its repr shows the number of items only.

    Attributes:
        items: every item, in the server's order.
        request_id: the server's id of the last page's request; None where it gave none.
        status: outcome from the envelope of the last page; None where the body is empty.
        totals: exact sum of the items' costs by currency; empty where the items carry no amounts,
            and where the call did not ask for totals.
    """

    items: list[T]
    request_id: str | None
    status: ResponseStatus | None
    totals: Mapping[str, Decimal]

    def __repr__(self) -> str:
        return f"Answer({len(self.items)} items)"
