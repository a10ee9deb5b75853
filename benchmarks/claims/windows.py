"""Requests of `window="auto"` beside the smallest possible number.

Run: `python -m benchmarks.claims.windows [--quick]`.

Sixty accounts of ninety days are synced from an emulator that rejects a request with too many rows
(413). The smallest number is that of a planner that knows the limit and the rows of each day: it
packs the days of each account in order. The accounts are alike, or have the rows of the real bill's
two accounts (6 and 13 per day), or vary as real accounts do (log-normal, and by day). `again` syncs
the same days once more, with what the first sync learned. Then the same days are synced by month,
under the same rate limit.
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

from benchmarks.harness.quick import is_quick
from spot_billing_async import SpotBillingClient
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.table.planning.due import TableWindow
from tests.support_processes import TOKEN, emulator_process

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
    """Requests of a sync, and the smallest possible number."""

    requests: int
    fewest: int

    @property
    def ratio(self) -> float:
        """Requests as a multiple of the smallest number."""
        return self.requests / self.fewest


def alike(_seed: int) -> Rows:
    """Return accounts with seven rows on each day."""
    return {f"a{n:02}": [7] * DAYS for n in range(ACCOUNTS)}


def real(seed: int) -> Rows:
    """Return accounts of which every other has twice the rows, as in the real bill."""
    random = Random(seed)  # noqa: S311  seeded data, no secret
    return {
        f"a{n:02}": [(6, 13)[n % 2] + random.randint(-1, 1) for _ in range(DAYS)]
        for n in range(ACCOUNTS)
    }


def various(seed: int) -> Rows:
    """Return accounts that differ by orders of magnitude, and days that differ by a third."""
    random = Random(seed)  # noqa: S311  seeded data, no secret
    means = [6.5 * exp(random.gauss(0, 1)) for _ in range(ACCOUNTS)]
    return {
        f"a{n:02}": [max(1, round(mean * random.uniform(0.7, 1.3))) for _ in range(DAYS)]
        for n, mean in enumerate(means)
    }


def fewest(rows: Rows, limit: int | None) -> int:
    """Return the number of windows of a planner that knows all rows."""
    most, count = limit or inf, 0
    for days in rows.values():
        count, filled = count + 1, 0
        for day_rows in days:
            filled += day_rows
            if filled > most:
                count, filled = count + 1, day_rows
    return count


def write_bill(path: Path, rows: Rows) -> None:
    """Write a FOCUS export with one service per row of a day."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        names = "BilledCost BillingAccountId BillingCurrency ChargePeriodStart ProviderName"
        out.writerow([*names.split(), "ServiceName"])
        for account, days in rows.items():
            for n, count in enumerate(days):
                start = f"{FIRST + timedelta(days=n)}T00:00:00Z"
                for service in range(count):
                    out.writerow([f"0.{n + 1:04}", account, "USD", start, "AWS", f"s{service:04}"])


async def sync_all(base_url: str, table: str, rows: Rows, window: TableWindow) -> SyncReport:
    """Sync all days; existing ones are fetched again, because `mutable_days` covers them all."""
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


def measure(rows: Rows, limit: int | None, folder: Path) -> list[Figure]:
    """Return the figures of a first sync, and of a second one that uses what the first learned."""
    bill = folder / "bill.csv"
    write_bill(bill, rows)
    options = [] if limit is None else ["--max-rows", str(limit)]
    least, wanted = fewest(rows, limit), sum(map(sum, rows.values()))
    figures = []
    with emulator_process(*options, bills=[bill]) as base_url:
        for _ in range(2):
            report = asyncio.run(sync_all(base_url, str(folder / f"t{limit}"), rows, "auto"))
            assert report.complete
            assert sum(report.totals.values()) == total(rows)
            assert report.rows_written in {wanted, 0}
            figures.append(Figure(report.requests, least))
    return figures


def total(rows: Rows) -> Decimal:
    """Return the total of the bill that `write_bill` writes."""
    return sum(
        (Decimal(f"0.{n + 1:04}") * days[n] for days in rows.values() for n in range(DAYS)),
        Decimal(0),
    )


def main() -> None:
    """Print figures for each kind of accounts; exit 1 where one misses the bar."""
    limits = QUICK_LIMITS if is_quick(__doc__) else LIMITS
    missed = False
    print(f"{ACCOUNTS} accounts of {DAYS} days; ratios to the smallest number (bar {BAR})")
    print("accounts    limit  fewest   auto  ratio  again  ratio")
    for kind in (alike, real, various):
        for limit in limits:
            with tempfile.TemporaryDirectory() as folder:
                first, again = measure(kind(SEED), limit, Path(folder))
            missed |= max(first.ratio, again.ratio) > BAR
            print(
                f"{kind.__name__:10} {limit or 'none':>6} {first.fewest:>7} {first.requests:>6} "
                f"{first.ratio:>6.2f} {again.requests:>6} {again.ratio:>6.2f}"
            )
    compare_months()
    sys.exit(missed)


def compare_months() -> None:
    """Print requests and seconds by automatic windows and by months, at the same rate limit."""
    rows = real(SEED)
    print(f"at {RATE_LIMIT}, responses of at most {MONTHS_LIMIT} rows, real accounts")
    print(f"{'window':10} {'requests':>9} {'seconds':>8}")
    for window in ("auto", "month"):
        with tempfile.TemporaryDirectory() as folder:
            bill = Path(folder) / "bill.csv"
            write_bill(bill, rows)
            options = ("--max-rows", str(MONTHS_LIMIT), "--rate-limit", RATE_LIMIT)
            with emulator_process(*options, bills=[bill]) as base_url:
                report = asyncio.run(sync_all(base_url, f"{folder}/t", rows, window))
        assert report.complete
        print(f"{window:10} {report.requests:>9} {report.elapsed_s:>8.1f}")


if __name__ == "__main__":
    main()
