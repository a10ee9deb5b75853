"""What users have reads the table: the README's own lines, and the same sum."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest
from deltalake import DeltaTable

from tests.table.api import Api
from tests.table.conftest import Sync

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
    """Spark is not at hand in these tests; its lines are there."""
    (block,) = [block for block in BLOCKS if "spark" in block]
    assert block.count("\n") == 3
