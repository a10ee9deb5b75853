"""Accounts registered with Billing Engine, and named groups of accounts."""

from typing import Any

import msgspec

CLOUD_PROVIDERS: tuple[str, ...] = ("aws", "azure", "gcp")
"""Cloud providers that the contract names, in its spelling."""


class BillingAccount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Account registered with Billing Engine.

    The contract makes every field optional; a field is None where the response has none.

    Attributes:
        account_id: the account's id at Spot, as text; leading zeros are kept.
        cloud_provider: `aws`, `azure` or `gcp` in the contract; any other text is kept unchanged.
        status: any JSON value, unchanged: the contract says a string, the vendor's own
            specification an array of objects or null.
        billing_account_id: id of the payer account at the cloud provider.
    """

    account_id: str | None = None
    cloud_provider: str | None = None
    status: Any = None
    billing_account_id: str | None = None


class AccountFamily(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Named group of accounts; an account is in at most one family.

    The contract shows no family in a response. The field names of its request are assumed, and
    `familyId` or `id` for the id.

    Attributes:
        family_id: the server's id. None where the server answered without a body: the other fields
            then repeat what was sent.
        name: name of the family.
        description: free text.
        account_ids: ids of the accounts in the family.
    """

    family_id: str | None = None
    name: str | None = None
    description: str | None = None
    account_ids: list[str] = []
