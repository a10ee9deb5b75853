"""Fixtures: a table in a folder of its own, and a server to fill it from."""

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, QueryBuilder

from spot_billing_async import SpotBillingClient
from spot_billing_async.table import SyncReport, sync
from tests.table.api import FIRST, LAST, Api, client_of

Sync = Callable[..., Awaitable[SyncReport]]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[SpotBillingClient]:
    async with client_of(api) as entered:
        yield entered


@pytest.fixture
def table(tmp_path: Path) -> str:
    return str(tmp_path / "costs")


@pytest.fixture
def run(api: Api, client: SpotBillingClient, table: str) -> Sync:
    """Sync of the whole range of all accounts by service; checks that the report adds up."""

    async def synced(**options: Any) -> SyncReport:
        scope: dict[str, Any] = {"accounts": api.accounts, "from_date": FIRST, "to_date": LAST}
        report = await sync(client, table, **(scope | {"group_by": "service"} | options))
        assert report.planned_days == (
            report.skipped_days
            + report.new_days
            + report.changed_days
            + report.unchanged_days
            + report.failed_days
            + report.not_started_days
        )
        return report

    return synced


def rows_of(table: str) -> list[dict[str, Any]]:
    """Return all rows of a Delta table, read by deltalake itself."""
    result = QueryBuilder().register("t", DeltaTable(table)).execute("SELECT * FROM t")
    rows: list[dict[str, Any]] = pa.RecordBatchReader.from_stream(result).read_all().to_pylist()
    return rows


def sum_of(table: str) -> Decimal:
    return sum((row["cost"] for row in rows_of(table)), Decimal(0))


def contents_of(table: str) -> set[tuple[Any, ...]]:
    """Return the costs without their request columns; check that no two rows are equal."""
    names = ("query_account_id", "group_by", "date", "service", "cost", "currency")
    rows = [tuple(row[name] for name in names) for row in rows_of(table)]
    assert len(set(rows)) == len(rows)
    return set(rows)


def version_of(table: str) -> int:
    return DeltaTable(table).version()
