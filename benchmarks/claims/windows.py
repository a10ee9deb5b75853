"""Requests of `window="auto"` beside the fewest there can be.

Run: `python -m benchmarks.claims.windows`.

Sixty accounts of ninety days, from an emulator that refuses what finds too many rows (413). The
oracle knows the limit and the rows of each day, and packs the days of each account in order. The
accounts are all alike, or have the rows of the real bill's two (6 and 13 a day), or differ as
accounts do (log-normal, and by day). `again` asks for the same days once more, with what the first
sync has learned. Then the same days by month, at the same rate limit.
"""

import asyncio
import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from math import exp, inf
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from spot_billing_async import SpotBillingClient
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.table.planning.due import TableWindow

FIRST = date(2024, 1, 1)
ACCOUNTS, DAYS = 60, 90
LAST = FIRST + timedelta(days=DAYS - 1)
LIMITS: tuple[int | None, ...] = (100, 300, 1000, 3000, None)
QUICK_LIMITS: tuple[int | None, ...] = (300, None)
BAR = 1.2
SEED = 7
MONTHS_LIMIT = 1000
RATE_LIMIT = "20/2s"

Rows = Mapping[str, Sequence[int]]


class Figure(NamedTuple):
    """What a sync took beside the fewest requests there can be."""

    requests: int
    fewest: int

    @property
    def ratio(self) -> float:
        """1.0 is perfect."""
        return self.requests / self.fewest


def alike(_seed: int) -> Rows:
    """Accounts of seven rows a day."""
    return {f"a{n:02}": [7] * DAYS for n in range(ACCOUNTS)}


def real(seed: int) -> Rows:
    """Accounts of which every other has twice the rows, as in the real bill."""
    chance = Random(seed)  # noqa: S311  seeded data, no secret
    return {
        f"a{n:02}": [(6, 13)[n % 2] + chance.randint(-1, 1) for _ in range(DAYS)]
        for n in range(ACCOUNTS)
    }


def various(seed: int) -> Rows:
    """Accounts that differ by orders of magnitude, and days that differ by a third."""
    chance = Random(seed)  # noqa: S311  seeded data, no secret
    means = [6.5 * exp(chance.gauss(0, 1)) for _ in range(ACCOUNTS)]
    return {
        f"a{n:02}": [max(1, round(mean * chance.uniform(0.7, 1.3))) for _ in range(DAYS)]
        for n, mean in enumerate(means)
    }


def fewest(rows: Rows, limit: int | None) -> int:
    """How many windows it takes who knows all beforehand."""
    most, count = limit or inf, 0
    for days in rows.values():
        count, filled = count + 1, 0
        for found in days:
            filled += found
            if filled > most:
                count, filled = count + 1, found
    return count


def write_bill(path: Path, rows: Rows) -> None:
    """A FOCUS export with so many services each day."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        names = "BilledCost BillingAccountId BillingCurrency ChargePeriodStart ProviderName"
        out.writerow([*names.split(), "ServiceName"])
        for account, days in rows.items():
            for n, count in enumerate(days):
                start = f"{FIRST + timedelta(days=n)}T00:00:00Z"
                for service in range(count):
                    out.writerow([f"0.{n + 1:04}", account, "USD", start, "AWS", f"s{service:04}"])


async def synced(base_url: str, table: str, rows: Rows, window: TableWindow) -> SyncReport:
    """Sync all days; those that are there are asked again, as each may still be restated."""
    async with SpotBillingClient(TOKEN, base_url=base_url) as client:
        return await sync(
            client,
            table,
            accounts=list(rows),
            from_date=FIRST,
            to_date=LAST,
            group_by="service",
            window=window,
            mutable_days=2 * DAYS,
            today=LAST,
        )


def measured(rows: Rows, limit: int | None, folder: Path) -> list[Figure]:
    """A first sync, and another one that remembers it."""
    bill = folder / "bill.csv"
    write_bill(bill, rows)
    options = [] if limit is None else ["--max-rows", str(limit)]
    least, wanted = fewest(rows, limit), sum(map(sum, rows.values()))
    figures = []
    with opponent(*options, bills=[bill]) as base_url:
        for _ in range(2):
            report = asyncio.run(synced(base_url, str(folder / f"t{limit}"), rows, "auto"))
            assert report.complete
            assert sum(report.totals.values()) == total(rows)
            assert report.rows_written in {wanted, 0}
            figures.append(Figure(report.requests, least))
    return figures


def total(rows: Rows) -> Decimal:
    """The sum of what `write_bill` writes."""
    return sum(
        (Decimal(f"0.{n + 1:04}") * days[n] for days in rows.values() for n in range(DAYS)),
        Decimal(0),
    )


def main() -> None:
    """Print each world's figures beside the bar; exit 1 where one misses it."""
    limits = QUICK_LIMITS if is_quick(__doc__) else LIMITS
    missed = False
    print(f"{ACCOUNTS} accounts of {DAYS} days; requests of the fewest there can be (bar {BAR})")
    print("accounts    limit  fewest   auto  ratio  again  ratio")
    for world in (alike, real, various):
        for limit in limits:
            with tempfile.TemporaryDirectory() as folder:
                first, again = measured(world(SEED), limit, Path(folder))
            missed |= max(first.ratio, again.ratio) > BAR
            print(
                f"{world.__name__:10} {limit or 'none':>6} {first.fewest:>7} {first.requests:>6} "
                f"{first.ratio:>6.2f} {again.requests:>6} {again.ratio:>6.2f}"
            )
    compare_months()
    sys.exit(missed)


def compare_months() -> None:
    """Print what the same days take in windows of a month, at the same rate limit."""
    rows = real(SEED)
    print(f"at {RATE_LIMIT}, answers of at most {MONTHS_LIMIT} rows, real accounts")
    print(f"{'window':10} {'requests':>9} {'seconds':>8}")
    for window in ("auto", "month"):
        with tempfile.TemporaryDirectory() as folder:
            bill = Path(folder) / "bill.csv"
            write_bill(bill, rows)
            options = ("--max-rows", str(MONTHS_LIMIT), "--rate-limit", RATE_LIMIT)
            with opponent(*options, bills=[bill]) as base_url:
                report = asyncio.run(synced(base_url, f"{folder}/t", rows, window))
        assert report.complete
        print(f"{window:10} {report.requests:>9} {report.elapsed_s:>8.1f}")


if __name__ == "__main__":
    main()
