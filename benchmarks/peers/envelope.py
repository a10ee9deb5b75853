"""The envelope of a cost analysis, as the floors of the stack decode it.

It has the same fields as the client's own, which is not public.
"""

from typing import Any

import msgspec

from spot_billing_async import CostItem


class Request(msgspec.Struct, frozen=True):
    """`request` of an envelope."""

    id: str | int | None = None


class Page(msgspec.Struct, frozen=True):
    """`response` of an envelope."""

    status: Any = None
    items: list[CostItem] | None = None
    count: int | None = None
    errors: Any = None


class Envelope(msgspec.Struct, frozen=True):
    """A whole response body."""

    request: Request | None = None
    response: Page | None = None
