"""Accounts and groups of accounts: the contract's tags 'Billing Accounts' and 'Families'."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol import operations
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import ArgumentError, DecodeError
from spot_billing_async.models import AccountFamily, BillingAccount
from spot_billing_async.models.validation import checked_id, checked_ids, checked_text


class AccountsResource:
    """Accounts registered with Billing Engine: `client.accounts`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def list(self, account_id: str | None = None) -> list[BillingAccount]:
        """Return the accounts registered with Billing Engine.

        Args:
            account_id: return only this account. None returns all accounts, also if the client has
                an account of its own.
        """
        query = None if account_id is None else {"accountId": checked_id("account_id", account_id)}
        answer = await call(self._session, operations.LIST_ACCOUNTS, BillingAccount, query=query)
        return answer.items


class _ReceivedFamily(msgspec.Struct, rename="camel"):
    """Family in a response; its id may be `id`, as in the vendor's other APIs."""

    family_id: str | None = None
    id: str | None = None
    name: str | None = None
    description: str | None = None
    account_ids: list[str | int] | None = None

    def family(self) -> AccountFamily:
        return AccountFamily(
            family_id=self.family_id if self.family_id is not None else self.id,
            name=self.name,
            description=self.description,
            account_ids=[str(account_id) for account_id in self.account_ids or ()],
        )


class FamiliesResource:
    """Named groups of accounts: `client.families`. An account is in at most one family.

    Every method raises an `ArgumentError` for an invalid argument, before it sends anything, and
    another `SpotBillingError` if the call fails: a `NotFoundError` if no family has the id, a
    `ConflictError` if an account is in another family already.
    """

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def create(
        self, *, name: str, description: str | None = None, account_ids: Iterable[str] = ()
    ) -> AccountFamily:
        """Create a family.

        Args:
            name: name of the family.
            description: free text about it; None for none.
            account_ids: ids of the accounts in it; duplicates are dropped.

        Returns:
            The family that the server returned. If the response is empty, which the contract
            allows, a family made of what was sent, with `family_id=None`; `list` returns the id.
        """
        fields: dict[str, Any] = {"name": checked_text("name", name)}
        if description is not None:
            fields["description"] = checked_text("description", description, may_be_empty=True)
        fields["accountIds"] = checked_ids("account_ids", account_ids)
        family = await self._one(operations.CREATE_FAMILY, {}, fields)
        return family or msgspec.convert(fields, AccountFamily)

    async def list(self) -> list[AccountFamily]:
        """List all families."""
        answer = await call(self._session, operations.LIST_FAMILIES, _ReceivedFamily)
        return [item.family() for item in answer.items]

    async def get(self, family_id: str) -> AccountFamily | None:
        """Get a family.

        Args:
            family_id: id of the family.

        Returns:
            The family; None where the server answers with an empty body, as the contract allows.
        """
        return await self._one(operations.GET_FAMILY, _in_path(family_id))

    async def update(
        self,
        family_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        account_ids: Iterable[str] | None = None,
    ) -> AccountFamily:
        """Change a family.

        Only the given fields are sent, at least one. The contract does not say what happens to the
        others; the client assumes that the server keeps them.

        Args:
            family_id: id of the family.
            name: its new name; None keeps the name.
            description: its new description; "" empties it, None keeps it.
            account_ids: ids of all accounts that shall be in it; () removes all, None keeps them.

        Returns:
            The family that the server returned. If the response is empty, as for `create` a family
            made of what was sent, with None or [] for the other fields; `get` returns all of it.
        """
        fields: dict[str, Any] = {}
        if name is not None:
            fields["name"] = checked_text("name", name)
        if description is not None:
            fields["description"] = checked_text("description", description, may_be_empty=True)
        if account_ids is not None:
            fields["accountIds"] = checked_ids("account_ids", account_ids)
        if not fields:
            raise ArgumentError(
                "update must be given name, description or account_ids, got nothing to change"
            )
        family = await self._one(operations.UPDATE_FAMILY, _in_path(family_id), fields)
        return family or msgspec.convert(fields, AccountFamily)

    async def delete(self, family_id: str) -> None:
        """Delete a family; its accounts then belong to none.

        Args:
            family_id: id of the family.

        Raises:
            NotFoundError: no family has this id; also where an earlier attempt of the same call
                deleted it and its response was lost.
        """
        await call(self._session, operations.DELETE_FAMILY, Any, path_ids=_in_path(family_id))

    async def _one(
        self,
        operation: Operation,
        path_ids: Mapping[str, str],
        fields: Mapping[str, object] | None = None,
    ) -> AccountFamily | None:
        """Call an operation that returns one family; None where the response has no items."""
        body = None if fields is None else {"family": fields}
        answer = await call(self._session, operation, _ReceivedFamily, path_ids=path_ids, body=body)
        if len(answer.items) > 1:
            problem = f"the response has {len(answer.items)} families, expected at most one"
            raise DecodeError(f"{operation.operation_id}: {problem}")
        return answer.items[0].family() if answer.items else None


def _in_path(family_id: str) -> dict[str, str]:
    """Return the path's parameter, in which `.` and `..` would lead to another resource."""
    if checked_id("family_id", family_id) in {".", ".."}:
        raise ArgumentError(
            f"family_id must not be '.' or '..', which would change the path, got {family_id!r}"
        )
    return {"familyId": family_id}
