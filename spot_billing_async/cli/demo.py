"""`spot-billing demo`: a whole pull, from nothing to a total that is proved."""

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
from spot_billing_async.cli.emulator import Exports, running
from spot_billing_async.cli.output import (
    as_table,
    console,
    progress_bar,
    totals_text,
    write_out,
)
from spot_billing_async.cli.signals import Interrupted, interruptible
from spot_billing_async.models.money import merge_totals, plain, totals_by_currency

_TOP = 8


class _Ranking:
    """Costs by name and currency."""

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, Decimal]] = {}

    def add(self, name: str | None, item: CostItem) -> None:
        known, more = name or "(none)", totals_by_currency([item.cost], [item.currency])
        self._totals[known] = merge_totals(self._totals.get(known, {}), more)

    def top(self) -> list[dict[str, str]]:
        """The names that cost most, by currency."""
        entries = [
            (currency, name, cost)
            for name, totals in self._totals.items()
            for currency, cost in totals.items()
        ]
        entries.sort(key=lambda entry: (entry[0], -entry[2], entry[1]))
        ranks: dict[str, int] = {}
        rows = []
        for currency, name, cost in entries:
            ranks[currency] = ranks.get(currency, 0) + 1
            if ranks[currency] <= _TOP:
                rows.append({"name": name, "cost": plain(cost), "currency": currency})
        return rows


async def demo(*, focus: Exports = None) -> int:
    """Emulate the API, pull all costs of all accounts from it, and prove the total.

    Args:
        focus: FOCUS exports to serve (.csv, .csv.gz, .parquet); left out: a built-in sample.
    """
    with interruptible() as interruption:
        with interruption.scope:
            async with (
                running(focus=focus or ()) as server,
                # All three are given, so that no setting of the user's is looked at.
                SpotBillingClient(
                    server.token, base_url=server.base_url, account_id="demo"
                ) as client,
            ):
                # A view without an account asks for all of them where it names none.
                report = await _pull(client.with_token(server.token))
                return _conclude(report, await server.ledger_totals())
        raise Interrupted(interruption.exit_code or 1)


async def _pull(client: TenantClient) -> PullReport:
    accounts = await client.accounts.list()
    days = [item.date for item in await client.costs.get() if item.date is not None]
    if not days:
        raise ConfigError("focus: the files hold no charges; allowed: FOCUS exports with rows")
    plan = CostPlan.build(
        accounts=[account.account_id for account in accounts],
        from_date=min(days),
        to_date=max(days),
        window="month",
        group_by="service",
    )
    console().print(
        f"{len(accounts):,} accounts, {min(days)} to {max(days)}: {len(plan):,} slices to pull"
    )
    services, by_account = _Ranking(), _Ranking()
    with progress_bar("slices") as progress:
        task = progress.add_task("Pulling", total=len(plan))
        async with client.costs.pull(plan) as run:
            async for outcome in run:
                _count(outcome, services, by_account)
                progress.advance(task)
    columns = ("name", "cost", "currency")
    console().print(as_table(columns, services.top(), title="Top services"))
    console().print(as_table(columns, by_account.top(), title="Top accounts"))
    return run.report


def _count(outcome: Fetched[CostItem] | Failed, services: _Ranking, accounts: _Ranking) -> None:
    if isinstance(outcome, Failed):
        raise outcome.error
    for item in outcome.items:
        services.add(item.service, item)
        accounts.add(outcome.query.account_id, item)


def _conclude(report: PullReport, ledger: Mapping[str, Decimal]) -> int:
    """Print the last line; 0 where what was pulled equals the ledger to the last decimal."""
    equal = report.totals == ledger
    verdict = "equals the ledger" if equal else f"DIFFERS from the ledger ({totals_text(ledger)})"
    write_out(
        f"{report.planned:,} slices, {report.rows:,} rows, total {totals_text(report.totals)} "
        f"in {report.elapsed_s:.1f} s: {verdict}\n".encode()
    )
    return 0 if equal else 1
