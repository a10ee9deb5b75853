"""The emulator as an opponent, in a process of its own so that its CPU is not the client's."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TOKEN = "benchmark"  # noqa: S105  the emulator's own

_TINY_BILL = (
    "BilledCost,BillingAccountId,BillingCurrency,ChargePeriodStart,ProviderName,ServiceName\n"
    "0.1,a1,USD,2024-01-01T00:00:00Z,AWS,S3\n"
)


@contextmanager
def opponent(*options: str, bills: Sequence[Path] = ()) -> Iterator[str]:
    """An emulator with options of its command line; yields its base URL.

    Without bills it serves a tiny one of a single row: then what is measured is not its queries.
    """
    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "bill.csv"
        tiny.write_text(_TINY_BILL)
        command = [sys.executable, "-m", "spot_billing_async.cli", "emulator", "--port", "0"]
        command += ["--token", TOKEN, *options]
        for bill in bills or [tiny]:
            command += ["--focus", str(bill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  this checkout's own code
            assert process.stdout is not None
            words = process.stdout.readline().split()
            try:
                yield next(word.rstrip(";") for word in words if word.startswith("http"))
            finally:
                process.terminate()
