"""The real bill, for benchmarks that need it."""

import sys
from pathlib import Path

from tests.support_real_bill import real_bill_files


def real_bill() -> list[Path]:
    """Return the files of the real bill; exit with a message where they are missing."""
    files = real_bill_files()
    if not files:
        sys.exit("skipped: the real bill is not beside this checkout, in ../shared/data")
    return files
