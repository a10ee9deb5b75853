"""The same sum by every reader: `python -m benchmarks.claims.readers`.

The real bill is synced by service, and its table is read by DuckDB, Polars, pandas and Spark, each
of which has to find the sum to the last decimal. Spark gets a virtual environment of its own, kept
in the system's folder for temporary files, as it is too large for the tests' one: the first run
installs it. It reads with Delta's own reader where the jars of that can be had from Maven, and else
the Parquet files that the table's log names. It needs Java 17 or newer.
"""

import asyncio
import subprocess
import sys
import tempfile
import venv
from argparse import ArgumentParser
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from benchmarks.harness.bill import ACCOUNTS, FIRST_DAY, LAST_DAY, TOTAL, real_bill
from benchmarks.harness.opponent import TOKEN, opponent
from spot_billing_async import SpotBillingClient

LONGEST_S = 240.0
SPARK_PACKAGES = ("pyspark", "delta-spark")


async def synced(base_url: str, table: str) -> None:
    """Sync the bill by service."""
    # Late: deltalake belongs to an extra.
    from spot_billing_async.table import sync  # noqa: PLC0415  see above

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


def by_duckdb(table: str) -> Decimal:
    """The sum, by DuckDB over Arrow."""
    # Late, as in what follows: each belongs to the extra `test`.
    import duckdb  # noqa: PLC0415  see above
    from deltalake import DeltaTable  # noqa: PLC0415  see above

    costs = DeltaTable(table).to_pyarrow_dataset()
    (total,) = duckdb.arrow(costs).aggregate("sum(cost)").fetchall()[0]
    return Decimal(total)


def by_polars(table: str) -> Decimal:
    """The sum, by Polars."""
    import polars as pl  # noqa: PLC0415  see above

    total = pl.scan_delta(table).select(pl.col("cost").sum()).collect().item()
    assert isinstance(total, Decimal)
    return total


def by_pandas(table: str) -> Decimal:
    """The sum, by pandas with Arrow's types."""
    import pandas as pd  # noqa: PLC0415  see above
    from deltalake import DeltaTable  # noqa: PLC0415  see above

    total = DeltaTable(table).to_pandas(types_mapper=pd.ArrowDtype)["cost"].sum()
    assert isinstance(total, Decimal)
    return total


def by_spark(table: str) -> Decimal:
    """The sum, by Spark and Delta's reader.

    Raises:
        RuntimeError: it could not be read; says why.
    """
    return _spark("delta", table)


def by_spark_parquet(table: str) -> Decimal:
    """The sum, by Spark from the Parquet files that the log names.

    Raises:
        RuntimeError: as above.
    """
    from deltalake import DeltaTable  # noqa: PLC0415  see above

    return _spark("parquet", table, *DeltaTable(table).file_uris())


READERS: dict[str, Callable[[str], Decimal]] = {
    "DuckDB": by_duckdb,
    "Polars": by_polars,
    "pandas": by_pandas,
}


def spark_python() -> Path:
    """A Python that has pyspark, and the Python half of delta-spark; made where it is not there."""
    folder = Path(tempfile.gettempdir()) / "spot-billing-spark"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", *SPARK_PACKAGES]
        subprocess.run(pip, check=True)  # noqa: S603  a Python of our own, names of our own
        (folder / "complete").touch()
    return python


def _spark(kind: str, table: str, *files: str) -> Decimal:
    script = Path(__file__).with_name("spark.py")
    try:
        done = subprocess.run(  # noqa: S603  this checkout's own code
            [str(spark_python()), "-P", str(script), kind, table, *files],
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done within {LONGEST_S:.0f} s") from None
    if done.returncode:
        raise RuntimeError(_cause(done.stderr))
    return Decimal(done.stdout.split()[-1])


def _cause(errors: str) -> str:
    """The line that says why Spark failed, of the hundreds that it prints."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line for line in lines if "not found" in line or "Error" in line or "Exception" in line]
    return (told or lines or ["it says nothing"])[0]


def spark_sum(table: str) -> tuple[str, Decimal]:
    """How Spark read the table, and its sum.

    Raises:
        RuntimeError: it could not; says why.
    """
    try:
        return "Spark, by Delta's reader", by_spark(table)
    except RuntimeError as error:
        print(f"Spark has no Delta reader here: {error}")
    return "Spark, by the log's files", by_spark_parquet(table)


def main() -> None:
    """Print each reader's sum beside the bill's; exit 1 where one is another."""
    ArgumentParser(description=__doc__).parse_args()
    with opponent(bills=real_bill()) as base_url, tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "costs")
        asyncio.run(synced(base_url, table))
        sums = {name: read(table) for name, read in READERS.items()}
        name, total = spark_sum(table)
        sums[name] = total
    print(f"{'reader':28} {'sum':>24}   bar {TOTAL}")
    for reader, found in sums.items():
        print(f"{reader:28} {found:>24}   {'the same' if found == TOTAL else 'ANOTHER'}")
    sys.exit(any(found != TOTAL for found in sums.values()))


if __name__ == "__main__":
    main()
