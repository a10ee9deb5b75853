"""The shapes of the API: msgspec structs by tag, the envelope around them, and exact money."""

from spot_billing_async.models.accounts import CLOUD_PROVIDERS, BillingAccount
from spot_billing_async.models.costs import GROUP_BY, CostItem, CostQuery, GroupBy
from spot_billing_async.models.envelope import Acknowledgement, ResponseStatus
from spot_billing_async.models.families import AccountFamily

__all__ = [
    "CLOUD_PROVIDERS",
    "GROUP_BY",
    "AccountFamily",
    "Acknowledgement",
    "BillingAccount",
    "CostItem",
    "CostQuery",
    "GroupBy",
    "ResponseStatus",
]
