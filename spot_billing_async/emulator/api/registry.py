"""Account families and setups that are registered through the API."""

import secrets
from typing import Any

from spot_billing_async.emulator.api.parameters import FamilyChange, Setup
from spot_billing_async.emulator.data.database import Cursor, one_row
from spot_billing_async.emulator.responses import conflict, not_found

_SELECT_FAMILIES = "SELECT family_id, name, description, account_ids FROM family"


def list_families(cursor: Cursor) -> list[dict[str, Any]]:
    """Return all families in the order of their creation."""
    return [
        _family(row) for row in cursor.execute(f"{_SELECT_FAMILIES} ORDER BY number").fetchall()
    ]


def get_family(cursor: Cursor, family_id: str) -> dict[str, Any]:
    """Return one family.

    Raises:
        ApiProblem: 404, no family has this id.
    """
    row = cursor.execute(f"{_SELECT_FAMILIES} WHERE family_id = ?", [family_id]).fetchone()
    if row is None:
        raise not_found("path.familyId", "family")
    return _family(row)


def create_family(cursor: Cursor, family: FamilyChange) -> dict[str, Any]:
    """Create a family with a new id and return it.

    Raises:
        ApiProblem: 409, an account is in another family.
    """
    family_id = f"fam-{secrets.token_hex(4)}"
    account_ids = family.account_ids or ()
    _check_accounts_free(cursor, account_ids, family_id)
    cursor.execute(
        "INSERT INTO family VALUES (nextval('family_number'), ?, ?, ?, ?)",
        [family_id, family.name, family.description, list(account_ids)],
    )
    return get_family(cursor, family_id)


def update_family(cursor: Cursor, family_id: str, change: FamilyChange) -> dict[str, Any]:
    """Update the given values of a family and return it; None leaves a value unchanged.

    Raises:
        ApiProblem: 404, no family has this id; 409, an account is in another family.
    """
    get_family(cursor, family_id)
    account_ids = None if change.account_ids is None else list(change.account_ids)
    _check_accounts_free(cursor, account_ids or (), family_id)
    cursor.execute(
        "UPDATE family SET name = coalesce(?, name), description = coalesce(?, description),"
        " account_ids = coalesce(?, account_ids) WHERE family_id = ?",
        [change.name, change.description, account_ids, family_id],
    )
    return get_family(cursor, family_id)


def delete_family(cursor: Cursor, family_id: str) -> None:
    """Delete a family; its accounts are then in none.

    Raises:
        ApiProblem: 404, no family has this id.
    """
    get_family(cursor, family_id)
    cursor.execute("DELETE FROM family WHERE family_id = ?", [family_id])


def save_setup(cursor: Cursor, product: str, setup: Setup) -> None:
    """Register a setup; it replaces the product's earlier setup of the same billing account."""
    cursor.execute(
        "DELETE FROM setup WHERE product = ? AND billing_account_id = ?",
        [product, setup.billing_account_id],
    )
    cursor.execute(
        "INSERT INTO setup VALUES (?, ?, ?, ?)",
        [product, setup.billing_account_id, setup.cloud_provider, setup.bucket],
    )


def get_setup(cursor: Cursor, product: str, billing_account_id: str) -> Setup:
    """Return the product's setup of a billing account.

    Raises:
        ApiProblem: 404, the billing account was never set up.
    """
    row = cursor.execute(
        "SELECT cloud_provider, billing_account_id, bucket FROM setup"
        " WHERE product = ? AND billing_account_id = ?",
        [product, billing_account_id],
    ).fetchone()
    if row is None:
        raise not_found(f"body.{product}.billingAccountId", "a setup of this billing account")
    return Setup(*row)


def _check_accounts_free(
    cursor: Cursor, account_ids: tuple[str, ...] | list[str], family_id: str
) -> None:
    """Raise if an account is in another family: the vendor allows one family per account."""
    (taken,) = one_row(
        cursor.execute(
            "SELECT min(account_id) FROM (SELECT family_id, unnest(account_ids) AS account_id"
            " FROM family) WHERE family_id <> ? AND list_contains(?, account_id)",
            [family_id, list(account_ids)],
        )
    )
    if taken is not None:
        raise conflict("body.family.accountIds", f"account {taken!r} is already in another family")


def _family(row: tuple[Any, ...]) -> dict[str, Any]:
    family = dict(zip(("familyId", "name", "description", "accountIds"), row, strict=True))
    return {name: value for name, value in family.items() if value is not None}
