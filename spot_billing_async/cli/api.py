"""Commands that make one API call each."""

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
from spot_billing_async.cli.output import OutputFormat, print_items, print_object, to_record
from spot_billing_async.cli.signals import Interrupted, interruptible

T = TypeVar("T")

accounts: App = App(name="accounts", help="List the accounts registered with Billing Engine.")
families: App = App(
    name="families", help="Manage account families, which are named groups of accounts."
)
billing_engine: App = App(
    name="billing-engine", help="Link billing accounts to their cost reports."
)
cost_intelligence: App = App(
    name="cost-intelligence", help="Set up Cost Intelligence for billing accounts."
)
costs: App = App(name="costs", help="Get, pull, sync and show exact costs by day.")

Dimension = Literal["account", "service", "region", "family", "none"]
Provider = Literal["aws", "azure", "gcp"]
Members = Annotated[list[str] | None, Parameter(name="--account", consume_multiple=True)]


@accounts.command(name="list")
async def list_accounts(*, account: str | None = None, output_format: OutputFormat = None) -> None:
    """List the accounts.

    Args:
        account: Id of the only account to list.
        output_format: Output format.
    """
    items = await _call(lambda client: client.accounts.list(account))
    print_items(BillingAccount, items, output_format)


@families.command(name="list")
async def list_families(*, output_format: OutputFormat = None) -> None:
    """List the account families."""
    print_items(AccountFamily, await _call(lambda client: client.families.list()), output_format)


@families.command(name="get")
async def get_family(family_id: str, /, *, output_format: OutputFormat = None) -> None:
    """Show an account family.

    Args:
        family_id: Id of the family.
        output_format: Output format.
    """
    _print_family(await _call(lambda client: client.families.get(family_id)), output_format)


@families.command(name="create")
async def create_family(
    *,
    name: str,
    description: str | None = None,
    account: Members = None,
    output_format: OutputFormat = None,
) -> None:
    """Create an account family.

    Args:
        name: Name of the family.
        description: Description of the family.
        account: Ids of its accounts; takes several ids, and may be repeated.
        output_format: Output format.
    """
    family = await _call(
        lambda client: client.families.create(
            name=name, description=description, account_ids=account or ()
        )
    )
    _print_family(family, output_format)


@families.command(name="update")
async def update_family(
    family_id: str,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    account: Annotated[Members, Parameter(negative="--no-accounts")] = None,
    output_format: OutputFormat = None,
) -> None:
    """Change an account family; omitted fields keep their values.

    Args:
        family_id: Id of the family.
        name: New name.
        description: New description; '' clears it.
        account: Ids of its accounts, which replace the present ones; --no-accounts removes all.
        output_format: Output format.
    """
    family = await _call(
        lambda client: client.families.update(
            family_id, name=name, description=description, account_ids=account
        )
    )
    _print_family(family, output_format)


@families.command(name="delete")
async def delete_family(family_id: str, /, *, output_format: OutputFormat = None) -> None:
    """Delete an account family; its accounts are kept.

    Args:
        family_id: Id of the family.
        output_format: Output format.
    """
    await _call(lambda client: client.families.delete(family_id))
    print_object(("family_id", "deleted"), {"family_id": family_id, "deleted": True}, output_format)


@billing_engine.command(name="setup")
async def set_up_engine(
    *,
    cloud_provider: Provider,
    billing_account_id: str,
    bucket_name: str,
    output_format: OutputFormat = None,
) -> None:
    """Link a billing account to the bucket of its cost reports.

    Args:
        cloud_provider: Cloud provider of the account.
        billing_account_id: Id that the provider gives the billing or payer account.
        bucket_name: Bucket or storage container that holds the cost and usage reports.
        output_format: Output format.
    """
    acknowledgement = await _call(
        lambda client: client.billing_engine.setup(
            cloud_provider=cloud_provider,
            billing_account_id=billing_account_id,
            bucket_name=bucket_name,
        )
    )
    _print_acknowledgement(acknowledgement, output_format)


@billing_engine.command(name="validate")
async def validate_engine(
    *, cloud_provider: str, billing_account_id: str, output_format: OutputFormat = None
) -> None:
    """Check a Billing Engine setup.

    Exit code 0 means that the server answered; the items of the response say whether the setup is
    valid.

    Args:
        cloud_provider: Cloud provider of the setup.
        billing_account_id: Id of its billing account.
        output_format: Output format.
    """
    acknowledgement = await _call(
        lambda client: client.billing_engine.validate(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _print_acknowledgement(acknowledgement, output_format)


@cost_intelligence.command(name="setup")
async def set_up_intelligence(
    *, cloud_provider: Provider, billing_account_id: str, output_format: OutputFormat = None
) -> None:
    """Set up Cost Intelligence for a billing account.

    Args:
        cloud_provider: Cloud provider of the account.
        billing_account_id: Id that the provider gives the billing account.
        output_format: Output format.
    """
    acknowledgement = await _call(
        lambda client: client.cost_intelligence.setup(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _print_acknowledgement(acknowledgement, output_format)


@cost_intelligence.command(name="validate")
async def validate_intelligence(
    *, cloud_provider: str, billing_account_id: str, output_format: OutputFormat = None
) -> None:
    """Check a Cost Intelligence setup.

    Exit code 0 means that the server answered; the items of the response say whether the setup is
    valid.

    Args:
        cloud_provider: Cloud provider of the setup.
        billing_account_id: Id of its billing account.
        output_format: Output format.
    """
    acknowledgement = await _call(
        lambda client: client.cost_intelligence.validate(
            cloud_provider=cloud_provider, billing_account_id=billing_account_id
        )
    )
    _print_acknowledgement(acknowledgement, output_format)


@costs.command(name="get")
async def get_costs(
    *,
    account: str | None = None,
    from_date: Annotated[date | None, Parameter(name="--from")] = None,
    to_date: Annotated[date | None, Parameter(name="--to")] = None,
    group_by: Dimension = "none",
    output_format: OutputFormat = None,
) -> None:
    """Get the costs of one account in one request.

    Args:
        account: Account id; by default SPOTINST_ACCOUNT or the credentials file's account,
            otherwise the server decides.
        from_date: First day, included (YYYY-MM-DD); by default the server decides.
        to_date: Last day, included (YYYY-MM-DD); by default the server decides.
        group_by: Dimension that splits the costs of each day.
        output_format: Output format.
    """
    items = await _call(
        lambda client: client.costs.get(account, from_date, to_date, to_group_by(group_by))
    )
    print_items(CostItem, items, output_format)


def to_group_by(group_by: Dimension) -> GroupBy | None:
    """Return the library's `group_by` for the value of `--group-by`."""
    return None if group_by == "none" else group_by


async def _call(operation: Callable[[SpotBillingClient], Awaitable[T]]) -> T:
    """Return the result of an operation on a client configured by environment and files.

    Raises:
        Interrupted: a signal ended the call.
    """
    with interruptible() as interruption:
        with interruption.scope:
            async with SpotBillingClient() as client:
                return await operation(client)
        # Reached only if a signal has cancelled the scope.
        raise Interrupted(interruption.exit_code or 1)


def _print_family(family: AccountFamily | None, output_format: OutputFormat) -> None:
    item = None if family is None else to_record(family)
    print_object(AccountFamily.__struct_fields__, item, output_format)


def _print_acknowledgement(acknowledgement: Acknowledgement, output_format: OutputFormat) -> None:
    # `to_record` would keep the nested structs, which CSV and tables cannot hold.
    item: dict[str, object] = msgspec.to_builtins(acknowledgement)
    print_object(Acknowledgement.__struct_fields__, item, output_format)
