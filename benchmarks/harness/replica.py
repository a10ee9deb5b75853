"""Bills with more accounts and days than the real one, and with amounts derived from it."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

Cell = tuple[str, date]
"""One day of one account."""

Costs = dict[Cell, dict[str, Decimal]]
"""Amounts by account, day and service."""

_PLACES = Decimal("1e-10")


def replica(bills: Sequence[Path], accounts: int, first_day: date, days: int, seed: int) -> Costs:
    """Return costs in which each account has the days of a real one, shifted and scaled.

    No two days have the same total.

    Args:
        bills: files of the real bill.
        accounts: number of accounts.
        first_day: first day of each account.
        days: number of days.
        seed: seed of the scales.
    """
    random = Random(seed)  # noqa: S311  a seeded bill, no secret
    real = _real_days(bills)
    names = sorted(real)
    costs: Costs = {}
    for number, day in itertools.product(range(accounts), range(days)):
        real_days = real[names[number % len(names)]]
        amounts = real_days[(day + number) % len(real_days)]
        scale = Decimal(random.randint(500, 1999)) / 1000 + Decimal(number * days + day) / 10**6
        costs[f"{number:012d}", first_day + timedelta(days=day)] = {
            service: (amount * scale).quantize(_PLACES) for service, amount in amounts.items()
        }
    return costs


def restated(costs: Costs, cells: Iterable[Cell], seed: int) -> Costs:
    """Return the costs with a restatement in each of the given cells.

    It changes an amount, removes or adds a row, or moves an amount to another service.
    """
    random = Random(seed)  # noqa: S311  a seeded restatement, no secret
    changed = {cell: dict(amounts) for cell, amounts in costs.items()}
    for number, cell in enumerate(cells):
        amounts = changed[cell]
        service = max(amounts, key=lambda name: (abs(amounts[name]), name))
        match number % 4:
            case 0:
                amounts[service] += Decimal(random.randint(1, 10**9)).scaleb(-10)
            case 1:
                del amounts[service]
            case 2:
                amounts["Amazon Restated"] = Decimal(-random.randint(1, 10**9)).scaleb(-10)
            case _:
                amounts["Amazon Restated"] = amounts.pop(service)
    return changed


def write_bill(costs: Costs, path: Path) -> None:
    """Write costs as a FOCUS export in Parquet."""
    # Late: pyarrow belongs to an extra.
    import pyarrow as pa  # noqa: PLC0415  see above
    import pyarrow.parquet as pq  # noqa: PLC0415  as above

    rows = [
        (account, f"{day}T00:00:00Z", service, cost)
        for (account, day), amounts in costs.items()
        for service, cost in amounts.items()
    ]
    accounts, starts, services, amounts = zip(*rows, strict=True)
    columns: dict[str, pa.Array] = {
        "BilledCost": pa.array(amounts, pa.decimal128(38, 10)),
        "BillingAccountId": pa.array(["000000000000"] * len(rows)),
        "SubAccountId": pa.array(accounts),
        "BillingCurrency": pa.array(["USD"] * len(rows)),
        "ChargePeriodStart": pa.array(starts),
        "ProviderName": pa.array(["AWS"] * len(rows)),
        "ServiceName": pa.array(services),
    }
    pq.write_table(pa.table(columns), path)


def total_of(amounts: Mapping[str, Decimal]) -> Decimal:
    """Return the total of one day."""
    return sum(amounts.values(), Decimal(0))


def _real_days(bills: Sequence[Path]) -> dict[str, list[dict[str, Decimal]]]:
    """Return for each account the amounts by service of each day with costs, in order."""
    # Late: duckdb belongs to an extra.
    import duckdb  # noqa: PLC0415  see above

    cells = duckdb.execute(
        """
        SELECT SubAccountId, ChargePeriodStart[:10] AS day, ServiceName,
            sum(CAST(BilledCost AS DECIMAL(38, 10)))
        FROM read_csv($bills, all_varchar = true)
        GROUP BY ALL ORDER BY ALL
        """,
        {"bills": [str(bill) for bill in bills]},
    ).fetchall()
    days: dict[str, dict[str, dict[str, Decimal]]] = {}
    for account, day, service, cost in cells:
        days.setdefault(account, {}).setdefault(day, {})[service] = cost
    return {account: list(by_day.values()) for account, by_day in days.items()}
