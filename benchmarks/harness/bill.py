"""The real bill that benchmarks pull, and what it comes to."""

import sys
from datetime import date
from decimal import Decimal
from pathlib import Path

ACCOUNTS = ("836060457634", "011254002932")
FIRST_DAY, LAST_DAY = date(2018, 10, 1), date(2018, 11, 30)
TOTAL = Decimal("7569.8100996647")

_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "aws-workshop-2018"


def real_bill() -> list[Path]:
    """Its files; where they are not beside this checkout, this says so and ends the benchmark."""
    files = sorted(_FOLDER.glob("*.csv.gz"))
    if not files:
        sys.exit("skipped: the real bill is not beside this checkout, in ../shared/data")
    return files
