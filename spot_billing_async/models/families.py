"""Account families: named groups of accounts."""

import msgspec


class AccountFamily(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A named group of accounts; an account is in at most one family.

    The contract shows no family in an answer. The field names of its request are assumed, and
    `familyId` or `id` for the id.
    """

    family_id: str | None = None
    name: str | None = None
    description: str | None = None
    account_ids: list[str] = []
