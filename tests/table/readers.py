"""Sums of a table's costs by tools that users have, and a sync of the real bill to read."""

from collections.abc import Callable
from decimal import Decimal

import duckdb
import pandas as pd
import polars as pl
from deltalake import DeltaTable

from spot_billing_async import SpotBillingClient
from spot_billing_async.table import sync
from tests.support_processes import TOKEN
from tests.support_real_bill import ACCOUNTS, FIRST_DAY, LAST_DAY


async def sync_real_bill(base_url: str, table: str) -> None:
    """Sync the real bill by service from an emulator that serves it."""
    async with SpotBillingClient(TOKEN, base_url=base_url) as client:
        report = await sync(
            client,
            table,
            accounts=ACCOUNTS,
            from_date=FIRST_DAY,
            to_date=LAST_DAY,
            group_by="service",
        )
    assert report.complete


def sum_by_duckdb(table: str) -> Decimal:
    """Return the sum by DuckDB over Arrow."""
    costs = DeltaTable(table).to_pyarrow_dataset()
    (total,) = duckdb.arrow(costs).aggregate("sum(cost)").fetchall()[0]
    return Decimal(total)


def sum_by_polars(table: str) -> Decimal:
    """Return the sum by Polars."""
    total = pl.scan_delta(table).select(pl.col("cost").sum()).collect().item()
    assert isinstance(total, Decimal)
    return total


def sum_by_pandas(table: str) -> Decimal:
    """Return the sum by pandas with Arrow types."""
    total = DeltaTable(table).to_pandas(types_mapper=pd.ArrowDtype)["cost"].sum()
    assert isinstance(total, Decimal)
    return total


READERS: dict[str, Callable[[str], Decimal]] = {
    "DuckDB": sum_by_duckdb,
    "Polars": sum_by_polars,
    "pandas": sum_by_pandas,
}
