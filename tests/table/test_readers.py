"""Common tools read the table by the lines of the guide, with exact sums."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from spot_billing_async import SpotBillingClient
from spot_billing_async.emulator import Emulator
from spot_billing_async.table import sync
from tests.support_guides import GUIDES, blocks_of
from tests.table.api import LAST, Api
from tests.table.conftest import Sync

BLOCKS = [block.code for block in blocks_of(GUIDES["table"]) if block.kind == "python"]
READERS = ["duckdb.sql", "pl.scan_delta", "pd.ArrowDtype"]
REAL_TOTAL = Decimal("7569.8100996647")


def block_of(reader: str) -> str:
    """Return the block of a reader, which has three lines beside its imports and comments."""
    (block,) = (block for block in BLOCKS if reader in block)
    lines = [line for line in block.splitlines() if line and not line.startswith("#")]
    assert len([line for line in lines if not line.startswith(("import", "from"))]) == 3
    return block


def amounts_read(reader: str) -> list[Decimal]:
    """Run the block of a reader in the current folder; return the amounts that it prints."""
    printed: list[Any] = []
    exec(block_of(reader), {"print": printed.append})  # noqa: S102  the guide's own lines
    (found,) = printed
    if isinstance(found, duckdb.DuckDBPyRelation):
        return [row[-1] for row in found.fetchall()]
    return list(found["cost"] if isinstance(found, pl.DataFrame) else found)


@pytest.mark.parametrize("reader", READERS)
async def test_the_lines_of_the_guide_read_the_table(
    api: Api, run: Sync, table: str, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Each reader needs three lines, as printed, for the exact amounts of one breakdown."""
    await run()
    await run(group_by=None)
    monkeypatch.chdir(Path(table).parent)
    amounts = amounts_read(reader)
    assert sum(amounts) == api.total
    assert len(amounts) == 2


def test_spark_has_three_lines_too() -> None:
    """The guide has three lines for Spark, which `benchmarks.claims.readers` installs and runs."""
    assert block_of("spark.read")


async def test_spark_finds_what_it_needs(api: Api, run: Sync, table: str) -> None:
    """A table needs version 1 of Delta's reader protocol, and its log names all Parquet files."""
    await run(today=LAST)
    api.costs[api.accounts[0], LAST]["s3"] += 1
    await run(today=LAST)
    opened = DeltaTable(table)
    assert opened.protocol().min_reader_version == 1
    costs = [pq.read_table(path, columns=["cost"])["cost"] for path in opened.file_uris()]
    assert sum(amount.as_py() for each in costs for amount in each) == api.total


@pytest.mark.parametrize("reader", READERS)
async def test_the_real_bill_by_every_reader(
    shared: Path, table: str, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Each reader finds the sum of a real bill, to the last decimal."""
    files = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    async with (
        Emulator(focus=files, token="t") as server,
        SpotBillingClient("t", base_url=server.base_url) as client,
    ):
        accounts = await client.accounts.list()
        report = await sync(
            client,
            table,
            accounts=[account.account_id for account in accounts],
            from_date=date(2018, 10, 1),
            to_date=date(2018, 11, 30),
            group_by="service",
        )
    assert report.complete
    monkeypatch.chdir(Path(table).parent)
    assert sum(amounts_read(reader)) == REAL_TOTAL
