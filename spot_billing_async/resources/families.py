"""Tag 'Families'."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import (
    CREATE_FAMILY,
    DELETE_FAMILY,
    GET_FAMILY,
    LIST_FAMILIES,
    UPDATE_FAMILY,
    Operation,
)
from spot_billing_async.errors import ArgumentError, DecodeError
from spot_billing_async.models import AccountFamily
from spot_billing_async.models.validation import checked_ids, checked_path_id, checked_text


class _AnsweredFamily(msgspec.Struct, rename="camel"):
    """A family as it may come: the contract shows none, and the vendor's other APIs say `id`."""

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
    """Named groups of accounts: `client.families`. An account is in at most one family."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def create(
        self, *, name: str, description: str | None = None, account_ids: Iterable[str] = ()
    ) -> AccountFamily | None:
        """Create a family.

        Args:
            name: its name.
            description: a text about it.
            account_ids: the accounts in it, each named once.

        Returns:
            The family, or None where the server answers with an empty body.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            ConflictError: an account is in another family already.
            SpotBillingError: the call failed.
        """
        fields: dict[str, object] = {"name": checked_text("name", name)}
        if description is not None:
            fields["description"] = checked_text("description", description, may_be_empty=True)
        fields["accountIds"] = checked_ids("account_ids", account_ids)
        return await self._one(CREATE_FAMILY, {}, {"family": fields})

    async def list(self) -> list[AccountFamily]:
        """List all families.

        Raises:
            SpotBillingError: the call failed.
        """
        answer = await call(self._session, LIST_FAMILIES, _AnsweredFamily)
        return [item.family() for item in answer.items]

    async def get(self, family_id: str) -> AccountFamily | None:
        """Get a family; None where the server answers with an empty body.

        Raises:
            NotFoundError: there is none with this id.
            SpotBillingError: the call failed.
        """
        return await self._one(GET_FAMILY, _in_path(family_id))

    async def update(
        self,
        family_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        account_ids: Iterable[str] | None = None,
    ) -> AccountFamily | None:
        """Change a family.

        Only what is given is sent. That the server keeps what is left out is assumed: the contract
        does not say.

        Args:
            family_id: which one.
            name: its new name.
            description: its new description; "" empties it.
            account_ids: all accounts that are to be in it; () empties it.

        Returns:
            The family, or None where the server answers with an empty body.

        Raises:
            ArgumentError: nothing to change is given, or an argument is not usable.
            ConflictError: an account is in another family already.
            NotFoundError: there is none with this id.
            SpotBillingError: the call failed.
        """
        fields: dict[str, object] = {}
        if name is not None:
            fields["name"] = checked_text("name", name)
        if description is not None:
            fields["description"] = checked_text("description", description, may_be_empty=True)
        if account_ids is not None:
            fields["accountIds"] = checked_ids("account_ids", account_ids)
        if not fields:
            raise ArgumentError(
                "update: nothing to change; allowed: name, description or account_ids"
            )
        return await self._one(UPDATE_FAMILY, _in_path(family_id), {"family": fields})

    async def delete(self, family_id: str) -> None:
        """Delete a family; its accounts are then in none.

        Raises:
            NotFoundError: there is none with this id; also where an earlier try of the same call
                deleted it, but its answer was lost on the way.
            SpotBillingError: the call failed.
        """
        await call(self._session, DELETE_FAMILY, Any, path_ids=_in_path(family_id))

    async def _one(
        self,
        operation: Operation,
        path_ids: Mapping[str, str],
        body: Mapping[str, object] | None = None,
    ) -> AccountFamily | None:
        answer = await call(self._session, operation, _AnsweredFamily, path_ids=path_ids, body=body)
        if len(answer.items) > 1:
            raise DecodeError(
                f"{operation.operation_id}: {len(answer.items)} families came where one is due"
            )
        return answer.items[0].family() if answer.items else None


def _in_path(family_id: str) -> dict[str, str]:
    return {"familyId": checked_path_id("family_id", family_id)}
