"""Accounts registered with Billing Engine."""

from typing import Any

import msgspec

CLOUD_PROVIDERS = ("aws", "azure", "gcp")
"""The cloud providers that the contract names, as it spells them."""


class BillingAccount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An account registered with Billing Engine. Every field is optional in the contract.

    Attributes:
        account_id: the account's id at Spot, as text; leading zeros are kept.
        cloud_provider: `aws`, `azure` or `gcp` in the contract; kept as it was answered.
        status: a string in the contract, an array of objects or null in the vendor's own spec: any
            JSON value, as it came.
        billing_account_id: the payer account's id at the cloud provider.
    """

    account_id: str | None = None
    cloud_provider: str | None = None
    status: Any = None
    billing_account_id: str | None = None
