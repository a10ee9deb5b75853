"""The sum of a table's costs by every reader: `python -m benchmarks.claims.readers`.

The real bill is synced by service. DuckDB, Polars, pandas and Spark read the table, and each must
find the sum to the last decimal. Spark is too large for the tests' environment. It is installed at
the first run into a virtual environment of its own, in the system's folder for temporary files, and
needs Java 17 or newer. It reads by Delta's own reader where the Java archives can be downloaded,
and else the Parquet files that the table's log names.
"""

import asyncio
import subprocess
import sys
import tempfile
import venv
from argparse import ArgumentParser
from decimal import Decimal
from pathlib import Path

from deltalake import DeltaTable

from benchmarks.harness.bill import real_bill
from tests.support_processes import emulator_process
from tests.support_real_bill import TOTAL
from tests.table.readers import READERS, sync_real_bill

SPARK_SCRIPT = Path(__file__).parents[1] / "harness" / "spark.py"
SPARK_TIMEOUT_S = 240.0
SPARK_PACKAGES = ("pyspark", "delta-spark")


def spark_python() -> Path:
    """Return a Python with pyspark and delta-spark; its environment is made where it is missing."""
    folder = Path(tempfile.gettempdir()) / "spot-billing-spark"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "-q", *SPARK_PACKAGES]
        subprocess.run(pip, check=True)  # noqa: S603  a Python of our own, names of our own
        (folder / "complete").touch()
    return python


def sum_by_spark(table: str) -> tuple[str, Decimal]:
    """Return how Spark read a table, and the sum.

    Raises:
        RuntimeError: Spark failed; the message is the cause.
    """
    try:
        return "Spark, by Delta's reader", _run_spark("delta", table)
    except RuntimeError as error:
        print(f"Spark has no Delta reader here: {error}")
    return "Spark, by the log's files", _run_spark("parquet", table, *DeltaTable(table).file_uris())


def _run_spark(kind: str, table: str, *files: str) -> Decimal:
    try:
        done = subprocess.run(  # noqa: S603  this checkout's own code
            [str(spark_python()), "-P", str(SPARK_SCRIPT), kind, table, *files],
            capture_output=True,
            text=True,
            check=False,
            timeout=SPARK_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not finished within {SPARK_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise RuntimeError(_cause(done.stderr))
    return Decimal(done.stdout.split()[-1])


def _cause(errors: str) -> str:
    """Return the line that names the cause, of the hundreds that Spark prints."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    signs = ("not found", "Error", "Exception")
    causes = [line for line in lines if any(sign in line for sign in signs)]
    return (causes or lines or ["no error output"])[0]


def main() -> None:
    """Print each reader's sum beside the bill's total; exit 1 where one differs."""
    ArgumentParser(description=__doc__).parse_args()
    with emulator_process(bills=real_bill()) as base_url, tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "costs")
        asyncio.run(sync_real_bill(base_url, table))
        sums = {name: read(table) for name, read in READERS.items()}
        name, total = sum_by_spark(table)
        sums[name] = total
    print(f"{'reader':28} {'sum':>24}   bar {TOTAL}")
    for reader, total in sums.items():
        print(f"{reader:28} {total:>24}   {'equal' if total == TOTAL else 'DIFFERENT'}")
    sys.exit(any(total != TOTAL for total in sums.values()))


if __name__ == "__main__":
    main()
