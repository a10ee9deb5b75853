"""`spot-billing demo`: a complete pull from an emulator, with a proof of the total."""

from collections.abc import Mapping
from decimal import Decimal

from spot_billing_async import (
    ConfigError,
    CostItem,
    CostPlan,
    Failed,
    Fetched,
    PullReport,
    SpotBillingClient,
    TenantClient,
)
from spot_billing_async.cli.emulator import Exports, running_emulator
from spot_billing_async.cli.output import (
    format_totals,
    pluralize,
    print_stdout,
    print_table,
    progress_bar,
    to_table,
)
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.models.money import merge_totals, plain, totals_by_currency

_TOP = 8


class _TotalsByName:
    """Exact totals by name and currency."""

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, Decimal]] = {}

    def add(self, name: str | None, item: CostItem) -> None:
        key, amount = name or "(none)", totals_by_currency([item.cost], [item.currency])
        self._totals[key] = merge_totals(self._totals.get(key, {}), amount)

    def highest(self) -> list[dict[str, str]]:
        """Return records of the eight names with the highest cost in each currency."""
        entries = [
            (currency, name, cost)
            for name, totals in self._totals.items()
            for currency, cost in totals.items()
        ]
        entries.sort(key=lambda entry: (entry[0], -entry[2], entry[1]))
        ranks: dict[str, int] = {}
        records = []
        for currency, name, cost in entries:
            ranks[currency] = ranks.get(currency, 0) + 1
            if ranks[currency] <= _TOP:
                records.append({"name": name, "cost": plain(cost), "currency": currency})
        return records


async def demo(*, focus: Exports = None) -> int:
    """Start an emulator of the API, pull all costs from it, and check the total.

    The total is compared with the ledger of the emulator, to the last decimal. Exit code 1 means
    that they differ.

    Args:
        focus: FOCUS exports to serve (.csv, .csv.gz, .parquet); by default a built-in sample.
    """
    with interruptible() as interruption:
        with interruption.scope:
            async with (
                running_emulator(focus=focus or ()) as server,
                # With all three arguments, neither environment nor credentials file is read.
                SpotBillingClient(
                    server.token, base_url=server.base_url, account_id="demo"
                ) as client,
            ):
                # A view has no account of its own: a call that names none covers all accounts.
                report = await _pull(client.with_token(server.token))
                return _print_verdict(report, await server.ledger_totals())
        raise Interrupted(interruption.exit_code or 1)


async def _pull(client: TenantClient) -> PullReport:
    """Pull all costs, print the highest ones, and return the report.

    Raises:
        ConfigError: the emulator serves no costs.
        SpotBillingError: a slice failed.
    """
    accounts = await client.accounts.list()
    days = [item.date for item in await client.costs.get() if item.date is not None]
    if not days:
        raise ConfigError("--focus must name FOCUS exports with at least one charge, got none")
    plan = CostPlan.build(
        accounts=[account.account_id for account in accounts],
        from_date=min(days),
        to_date=max(days),
        window="month",
        group_by="service",
    )
    print_stdout(
        f"{pluralize(len(accounts), 'account')}, {min(days)} to {max(days)}: "
        f"{pluralize(len(plan), 'slice')} to pull"
    )
    services, by_account = _TotalsByName(), _TotalsByName()
    with progress_bar("slices") as progress:
        task = progress.add_task("Pulling", total=len(plan))
        async with client.costs.pull(plan) as run:
            async for outcome in run:
                _add_costs(outcome, services, by_account)
                progress.advance(task)
    columns = ("name", "cost", "currency")
    print_table(to_table(columns, services.highest(), title="Top services"))
    print_table(to_table(columns, by_account.highest(), title="Top accounts"))
    return run.report


def _add_costs(
    outcome: Fetched[CostItem] | Failed, services: _TotalsByName, accounts: _TotalsByName
) -> None:
    # The emulator injects no faults here, so any failure is an error of the demo.
    if isinstance(outcome, Failed):
        raise outcome.error
    for item in outcome.items:
        services.add(item.service, item)
        accounts.add(outcome.query.account_id, item)


def _print_verdict(report: PullReport, ledger: Mapping[str, Decimal]) -> int:
    """Print the last line; return 0 if the pulled totals equal the ledger exactly, otherwise 1."""
    is_equal = report.totals == ledger
    verdict = (
        "equals the ledger" if is_equal else f"DIFFERS from the ledger ({format_totals(ledger)})"
    )
    print_stdout(
        f"{pluralize(report.planned, 'slice')}, {pluralize(report.rows, 'row')}, "
        f"total {format_totals(report.totals)} in {report.elapsed_s:.1f} s: {verdict}"
    )
    return 0 if is_equal else 1
