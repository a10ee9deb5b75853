"""Cost analysis: what is asked for, and the rows that come back."""

from datetime import date
from decimal import Decimal
from typing import Literal, get_args

import msgspec

GroupBy = Literal["account", "service", "region", "family"]
GROUP_BY: tuple[GroupBy, ...] = get_args(GroupBy)
"""The dimensions that the contract lets costs be grouped by."""


class CostQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One question to cost analysis: an account, an inclusive range of days, a dimension.

    `None` leaves the parameter out of the request.
    """

    account_id: str | None = None
    from_date: date | None = None
    to_date: date | None = None
    group_by: GroupBy | None = None


class CostItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One row of cost analysis: the cost of a day in a group.

    The contract does not describe it; the fields are inferred, so each is optional. In the rows
    that calls return, `cost` is never None: a row without one is an error. It is exact, a `Decimal`
    made from the JSON text, number or string, never by way of a float; negative for a credit.
    `currency` is an ISO 4217 code. A date-time in `date` becomes its UTC day.

    It holds plain values alone, so the garbage collector need not look at it: looking through a
    million rows would hold up the event loop for a fiftieth of a second, each time.
    """

    account_id: str | None = None
    cloud_provider: str | None = None
    service: str | None = None
    region: str | None = None
    family: str | None = None
    family_id: str | None = None
    date: "date | None" = None
    cost: Decimal | None = None
    currency: str | None = None
