"""Account families: named groups of accounts."""

import msgspec


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
