"""Cost analysis: the query that is sent, and the rows of the response."""

import datetime as dt
from decimal import Decimal
from typing import Literal, get_args

import msgspec

GroupBy = Literal["account", "service", "region", "family"]
"""Dimension that costs are grouped by."""

GROUP_BY: tuple[GroupBy, ...] = get_args(GroupBy)


class CostQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Query of cost analysis: an account, an inclusive range of days, and a dimension.

    A field that is None is left out of the request.

    Attributes:
        account_id: the account's id at Spot.
        from_date: first day of the range, included.
        to_date: last day of the range, included.
        group_by: dimension of the rows.
    """

    account_id: str | None = None
    from_date: dt.date | None = None
    to_date: dt.date | None = None
    group_by: GroupBy | None = None


# Without gc=False the garbage collector would visit every row: 20 ms of a blocked event loop for a
# million rows, in each full collection. The fields are plain values, so no cycle can arise.
class CostItem(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Row of cost analysis: the cost of one day in one group.

    The contract does not describe the row; the fields are inferred. Each is optional except `cost`:
    a row without an amount makes the call fail with `DecodeError`.

    Attributes:
        account_id: the account's id at Spot, as text.
        cloud_provider: name of the cloud provider.
        service: name of the cloud service.
        region: name of the cloud region.
        family: name of the account family.
        family_id: id of the account family.
        date: the day; of a date-time in the response, its UTC day.
        cost: exact amount, parsed from the JSON text (number or string) and never a float; negative
            for a credit.
        currency: ISO 4217 code of the amount.
    """

    account_id: str | None = None
    cloud_provider: str | None = None
    service: str | None = None
    region: str | None = None
    family: str | None = None
    family_id: str | None = None
    date: dt.date | None = None
    cost: Decimal
    currency: str | None = None
