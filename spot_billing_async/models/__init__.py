"""Data types of the API by tag (msgspec structs), its response envelope, and exact money."""

from spot_billing_async.models.accounts import CLOUD_PROVIDERS, AccountFamily, BillingAccount
from spot_billing_async.models.costs import GROUP_BY, CostItem, CostQuery, GroupBy
from spot_billing_async.models.results import Acknowledgement, ResponseStatus

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
