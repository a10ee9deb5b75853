"""What users have reads the table: the README's own lines, and the same sum."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from spot_billing_async.emulator import Emulator
from tests.support_processes import TOKEN
from tests.support_real_bill import TOTAL
from tests.table.api import LAST, Api
from tests.table.conftest import Sync
from tests.table.readers import READERS, sync_real_bill

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SECTION = README.split("## Keep a table")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("reader", ["duckdb.sql", "pl.scan_delta", "pd.ArrowDtype"])
async def test_the_readmes_lines_read_the_table(
    api: Api, run: Sync, table: str, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """Three lines each, as printed; exact amounts, of one breakdown."""
    await run()
    await run(group_by=None)
    (block,) = [block for block in BLOCKS if reader in block]
    assert block.count("\n") == 3
    monkeypatch.chdir(Path(table).parent)
    printed: list[Any] = []
    names = {"duckdb": duckdb, "pl": pl, "pd": pd, "DeltaTable": DeltaTable}
    exec(block, names | {"print": printed.append})  # noqa: S102  the README's own words
    (found,) = printed
    if isinstance(found, duckdb.DuckDBPyRelation):
        amounts = [row[1] for row in found.fetchall()]
    else:
        amounts = list(found["cost"] if isinstance(found, pl.DataFrame) else found)
    assert sum(amounts) == api.total
    assert len(amounts) == 2


def test_spark_has_three_lines_too() -> None:
    """The README has three lines for Spark, which `benchmarks.claims.readers` runs."""
    (block,) = [block for block in BLOCKS if "spark" in block]
    assert block.count("\n") == 3


async def test_what_spark_needs_is_there(api: Api, run: Sync, table: str) -> None:
    """No more than version 1 of Delta's protocol; and the Parquet files of the log hold it all."""
    await run(today=LAST)
    api.costs[api.accounts[0], LAST]["s3"] += 1
    await run(today=LAST)
    opened = DeltaTable(table)
    assert opened.protocol().min_reader_version == 1
    costs = [pq.read_table(path, columns=["cost"])["cost"] for path in opened.file_uris()]
    assert sum(amount.as_py() for each in costs for amount in each) == api.total


@pytest.mark.parametrize("reader", READERS)
async def test_the_real_bill_by_every_reader(shared: Path, table: str, reader: str) -> None:
    """The same sum, to the last decimal."""
    files = sorted((shared / "data" / "aws-workshop-2018").glob("*.csv.gz"))
    async with Emulator(focus=files, token=TOKEN) as server:
        await sync_real_bill(server.base_url, table)
    assert READERS[reader](table) == TOTAL
