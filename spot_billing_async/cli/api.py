"""The commands that are one call of the API each."""

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Annotated, Literal, TypeVar

import msgspec
from cyclopts import App, Parameter

from spot_billing_async import (
    AccountFamily,
    Acknowledgement,
    BillingAccount,
    CostItem,
    GroupBy,
    SpotBillingClient,
)
from spot_billing_async.cli.output import Format, record, show, show_one
from spot_billing_async.cli.signals import Interrupted, interruptible

T = TypeVar("T")

accounts = App(name="accounts", help="Accounts registered with Billing Engine.")
families = App(name="families", help="Account families: named groups of accounts.")
billing_engine = App(name="billing-engine", help="Linking accounts to their cost data.")
cost_intelligence = App(name="cost-intelligence", help="Cost Intelligence of an account.")
costs = App(name="costs", help="Cost analysis: exact costs by day.")

Dimension = Literal["account", "service", "region", "family", "none"]
Provider = Literal["aws", "azure", "gcp"]
Members = Annotated[
    list[str] | None, Parameter(name="--account", consume_multiple=True, negative=())
]


@accounts.command(name="list")
async def list_accounts(*, account: str | None = None, form: Format = None) -> None:
    """List the accounts.

    Args:
        account: Only the account with this id.
        form: How to print.
    """
    items = await _answer(lambda client: client.accounts.list(account))
    show(BillingAccount, items, form)


@families.command(name="list")
async def list_families(*, form: Format = None) -> None:
    """List all families."""
    show(AccountFamily, await _answer(lambda client: client.families.list()), form)


@families.command(name="get")
async def get_family(family_id: str, /, *, form: Format = None) -> None:
    """Show a family.

    Args:
        family_id: Id of the family.
        form: How to print.
    """
    _show_family(await _answer(lambda client: client.families.get(family_id)), form)


@families.command(name="create")
async def create_family(
    *, name: str, description: str | None = None, account: Members = None, form: Format = None
) -> None:
    """Create a family.

    Args:
        name: Name of the family.
        description: Text about it.
        account: Ids of the accounts in it: several after one option, or the option repeated.
        form: How to print.
    """
    family = await _answer(
        lambda client: client.families.create(
            name=name, description=description, account_ids=account or ()
        )
    )
    _show_family(family, form)


@families.command(name="update")
async def update_family(
    family_id: str,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    account: Annotated[Members, Parameter(negative="--no-accounts")] = None,
    form: Format = None,
) -> None:
    """Change a family; what is left out stays as it is.

    Args:
        family_id: Id of the family.
        name: Its new name.
        description: Its new description; '' empties it.
        account: Ids of all accounts that are to be in it; --no-accounts empties it.
        form: How to print.
    """
    family = await _answer(
        lambda client: client.families.update(
            family_id, name=name, description=description, account_ids=account
        )
    )
    _show_family(family, form)


@families.command(name="delete")
async def delete_family(family_id: str, /, *, form: Format = None) -> None:
    """Delete a family; its accounts are then in none.

    Args:
        family_id: Id of the family.
        form: How to print.
    """
    await _answer(lambda client: client.families.delete(family_id))
    show_one(("family_id", "deleted"), {"family_id": family_id, "deleted": True}, form)


@billing_engine.command(name="setup")
async def set_up_engine(
    *, cloud_provider: Provider, billing_account_id: str, bucket_name: str, form: Format = None
) -> None:
    """Link a billing account and the bucket of its cost reports.

    Args:
        cloud_provider: Cloud provider of the account.
        billing_account_id: Id of the billing or payer account at the provider.
        bucket_name: Bucket or storage container of the cost and usage reports.
        form: How to print.
    """
    answer = await _answer(
        lambda client: client.billing_engine.setup(
            cloud_provider=cloud_provider,
            billing_account_id=billing_account_id,
            bucket_name=bucket_name,
        )
    )
    _show_acknowledgement(answer, form)


@billing_engine.command(name="validate")
async def validate_engine(
    *, cloud_provider: str, billing_account_id: str, form: Format = None
) -> None:
    """Have a Billing Engine setup checked.

    Args:
        cloud_provider: Cloud provider of the setup.
        billing_account_id: Id of its billing account.
        form: How to print.
    """
    answer = await _answer(
        lambda client: client.billing_engine.validate(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _show_acknowledgement(answer, form)


@cost_intelligence.command(name="setup")
async def set_up_intelligence(
    *, cloud_provider: Provider, billing_account_id: str, form: Format = None
) -> None:
    """Set up Cost Intelligence for a billing account.

    Args:
        cloud_provider: Cloud provider of the account.
        billing_account_id: Id of the billing account at the provider.
        form: How to print.
    """
    answer = await _answer(
        lambda client: client.cost_intelligence.setup(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _show_acknowledgement(answer, form)


@cost_intelligence.command(name="validate")
async def validate_intelligence(
    *, cloud_provider: str, billing_account_id: str, form: Format = None
) -> None:
    """Have a Cost Intelligence setup checked.

    Args:
        cloud_provider: Cloud provider of the setup.
        billing_account_id: Id of its billing account.
        form: How to print.
    """
    answer = await _answer(
        lambda client: client.cost_intelligence.validate(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _show_acknowledgement(answer, form)


@costs.command(name="get")
async def get_costs(
    *,
    account: str | None = None,
    from_date: Annotated[date | None, Parameter(name="--from")] = None,
    to_date: Annotated[date | None, Parameter(name="--to")] = None,
    group_by: Dimension = "none",
    form: Format = None,
) -> None:
    """Get the costs of one account in one request.

    Args:
        account: Id of the account; left out: the one of the settings, else the server's choice.
        from_date: First day, included (YYYY-MM-DD); left out: the server's choice.
        to_date: Last day, included (YYYY-MM-DD); left out: the server's choice.
        group_by: What each day's costs are broken down by.
        form: How to print.
    """
    items = await _answer(
        lambda client: client.costs.get(account, from_date, to_date, dimension(group_by))
    )
    show(CostItem, items, form)


def dimension(group_by: Dimension) -> GroupBy | None:
    """What the library calls a dimension."""
    return None if group_by == "none" else group_by


async def _answer(ask: Callable[[SpotBillingClient], Awaitable[T]]) -> T:
    """What the API answers; token and address come from the environment or the credentials file."""
    with interruptible() as interruption:
        with interruption.scope:
            async with SpotBillingClient() as client:
                return await ask(client)
        raise Interrupted(interruption.exit_code or 1)


def _show_family(family: AccountFamily | None, form: Format) -> None:
    item = None if family is None else record(family)
    show_one(AccountFamily.__struct_fields__, item, form)


def _show_acknowledgement(answer: Acknowledgement, form: Format) -> None:
    item: dict[str, object] = msgspec.to_builtins(answer)
    show_one(Acknowledgement.__struct_fields__, item, form)
