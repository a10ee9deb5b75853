"""Changes that a daily refresh finds, and its cost in requests.

Run: `python -m benchmarks.claims.refresh [--quick]`.

The real bill is spread over 60 accounts and 90 days and synced by day and service. Then 1 % of the
days that may still change are restated in the server's data: amounts change, rows are removed or
added, or move to another service. The sync of the next day must find exactly these changes, by
account and day, with the old and the new total to the last decimal, and with at most a tenth of the
requests of the first sync. The log of the Delta table shows what was rewritten.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Collection
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import NamedTuple

from benchmarks.harness.bill import real_bill
from benchmarks.harness.quick import is_quick
from benchmarks.harness.replica import Cell, Costs, replica, restated, total_of, write_bill
from spot_billing_async import SpotBillingClient
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.table.sync import MUTABLE_DAYS
from tests.support_processes import TOKEN, emulator_process

ACCOUNTS, QUICK_ACCOUNTS = 60, 6
DAYS = 90
FIRST_DAY = date(2025, 1, 1)
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
SHARE_RESTATED = 0.01
MOST_REQUESTS = 0.1
SEED = 11

Change = tuple[str, date, Decimal, Decimal]
"""Account, day, old total and new total."""


class Written(NamedTuple):
    """Bytes of a table's files: before a sync, added by it, and removed by it."""

    before: int
    added: int
    removed: int


class Figures(NamedTuple):
    """Results of a first sync and a refresh.

    Attributes:
        full: report of the first sync.
        refresh: report of the refresh.
        restated: the changes in the server's data.
        total: total of the server's data after the changes.
        costs: bytes of the table.
        ledger: bytes of its ledger.
    """

    full: SyncReport
    refresh: SyncReport
    restated: set[Change]
    total: Decimal
    costs: Written
    ledger: Written

    @property
    def missed(self) -> set[Change]:
        """Changes that were not found, or with wrong totals."""
        return self.restated - changes_of(self.refresh)

    @property
    def invented(self) -> set[Change]:
        """Reported changes that did not happen."""
        return changes_of(self.refresh) - self.restated

    @property
    def requests(self) -> float:
        """Requests of the refresh as a share of those of the first sync."""
        return self.refresh.requests / self.full.requests

    @property
    def is_right(self) -> bool:
        """True if both syncs are complete, and the table has the server's total."""
        return (
            self.full.complete
            and self.refresh.complete
            and (self.refresh.totals == {"USD": self.total})
        )


def changes_of(report: SyncReport) -> set[Change]:
    """Return the changes of a report, each of which must be of one day, and no two of the same."""
    changes = [(c.account_id, c.from_date, c.old_total, c.new_total) for c in report.changes]
    assert len(changes) == len(set(changes))
    assert all(change.from_date == change.to_date for change in report.changes)
    return set(changes)


def restated_cells(costs: Costs, seed: int) -> list[Cell]:
    """Return the cells to restate: a random share of those that may still change."""
    mutable = [cell for cell in costs if (LAST_DAY - cell[1]).days < MUTABLE_DAYS]
    random = Random(seed)  # noqa: S311  a seeded restatement, no secret
    return random.sample(mutable, max(1, round(len(mutable) * SHARE_RESTATED)))


def measure(bills: list[Path], accounts: int, folder: Path, *, by_day: bool = True) -> Figures:
    """Sync, restate, and sync again.

    Args:
        bills: files of the real bill.
        accounts: number of accounts over which it is spread.
        folder: folder of bills and table.
        by_day: True for a first sync by day.
    """
    costs = replica(bills, accounts, FIRST_DAY, DAYS, SEED)
    cells = restated_cells(costs, SEED)
    later = restated(costs, cells, SEED)
    table, bill = str(folder / "costs"), folder / "bill.parquet"
    names = sorted({account for account, _ in costs})
    write_bill(costs, bill)
    with emulator_process(bills=[bill]) as base_url:
        full = asyncio.run(_sync(base_url, table, names, LAST_DAY, by_day=by_day))
    versions = _version(table), _version(f"{table}_ledger")
    write_bill(later, bill)
    with emulator_process(bills=[bill]) as base_url:
        next_day = LAST_DAY + timedelta(days=1)
        refresh = asyncio.run(_sync(base_url, table, names, next_day, by_day=False))
    return Figures(
        full,
        refresh,
        {(*cell, total_of(costs[cell]), total_of(later[cell])) for cell in cells},
        sum(map(total_of, later.values()), Decimal(0)),
        _written(table, versions[0]),
        _written(f"{table}_ledger", versions[1]),
    )


async def _sync(
    base_url: str, table: str, accounts: Collection[str], today: date, *, by_day: bool
) -> SyncReport:
    async with SpotBillingClient(TOKEN, base_url=base_url) as client:
        return await sync(
            client,
            table,
            accounts=accounts,
            from_date=FIRST_DAY,
            to_date=LAST_DAY,
            group_by="service",
            window="day" if by_day else "auto",
            today=today,
        )


def _version(table: str) -> int:
    return len(_commits(table)) - 1


def _commits(table: str) -> list[Path]:
    return sorted((Path(table) / "_delta_log").glob("*.json"))


def _written(table: str, version: int) -> Written:
    """Return the bytes at a version, and those added and removed after it."""
    sizes: dict[str, int] = {}
    added = removed = before = 0
    for number, commit in enumerate(_commits(table)):
        for line in commit.read_text().splitlines():
            match json.loads(line):
                case {"add": {"path": path, "size": size}}:
                    sizes[path] = size
                    added += size if number > version else 0
                case {"remove": {"path": path}}:
                    removed_size = sizes.pop(path)
                    removed += removed_size if number > version else 0
        if number == version:
            before = sum(sizes.values())
    return Written(before, added, removed)


def main() -> None:
    """Print changes and requests beside the bars; exit 1 where one is missed."""
    accounts = QUICK_ACCOUNTS if is_quick(__doc__) else ACCOUNTS
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(real_bill(), accounts, Path(folder))
    print(f"{accounts} accounts, {DAYS} days, in {time.monotonic() - started_s:.0f} s")
    for name, report in (("first, by day", found.full), ("refresh", found.refresh)):
        print(
            f"{name}: {report.requests} requests, {report.rows_written} rows written, "
            f"{report.elapsed_s:.1f} s"
        )
    print(f"{'figure':44} {'value':>10} {'bar':>8}")
    restated_days = len(found.restated)
    print(
        f"{'restated days that were found':44} "
        f"{restated_days - len(found.missed):>10} {restated_days:>8}"
    )
    print(f"{'reported changes that did not happen':44} {len(found.invented):>10} {0:>8}")
    print(f"{'requests, share of the first sync':44} {found.requests:>10.2%} {MOST_REQUESTS:>8.0%}")
    print(f"{'table has the total of the server':44} {found.is_right!s:>10} {'True':>8}")
    for name, written in (("costs", found.costs), ("ledger", found.ledger)):
        print(
            f"{name}: of {written.before / 1000:.0f} KB, {written.removed / 1000:.0f} KB were "
            f"replaced by {written.added / 1000:.0f} KB"
        )
    good = not found.missed and not found.invented and found.is_right
    sys.exit(not (good and found.requests <= MOST_REQUESTS))


if __name__ == "__main__":
    main()
