"""Changes that a daily refresh finds, and its cost in requests.

Run: `python -m benchmarks.claims.refresh [--quick]`.

The real bill is spread over 60 accounts and 90 days and synced by day and service. Then 1 % of the
days that may still change are restated in the server's data: other amounts, rows that are gone,
new, or of another service. The sync of the next day has to find each of them by account and day,
with its old and its new total to the last decimal, and nothing else; with a tenth of the requests
of the first at most. What it rewrote is told by the log of the Delta table.
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
from benchmarks.harness.opponent import TOKEN, opponent
from benchmarks.harness.quick import is_quick
from benchmarks.harness.replica import Cell, Costs, replica, restated, total_of, write_bill
from spot_billing_async import SpotBillingClient
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.table.sync import MUTABLE_DAYS

ACCOUNTS, QUICK_ACCOUNTS = 60, 6
DAYS = 90
FIRST_DAY = date(2025, 1, 1)
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
SHARE_RESTATED = 0.01
MOST_REQUESTS = 0.1
SEED = 11

Told = tuple[str, date, Decimal, Decimal]
"""A change: account, day, old and new total."""


class Written(NamedTuple):
    """What a sync did to the files of a table, in bytes."""

    before: int
    added: int
    removed: int


class Figures(NamedTuple):
    """What a refresh came to."""

    full: SyncReport
    refresh: SyncReport
    restated: set[Told]
    total: Decimal
    costs: Written
    ledger: Written

    @property
    def missed(self) -> set[Told]:
        """Changes that were not found, or not as they are."""
        return self.restated - changes_of(self.refresh)

    @property
    def invented(self) -> set[Told]:
        """Changes that were found and are none."""
        return changes_of(self.refresh) - self.restated

    @property
    def requests(self) -> float:
        """Requests of the refresh, as a share of those of the full pull by day."""
        return self.refresh.requests / self.full.requests

    @property
    def is_right(self) -> bool:
        """Whether both syncs are complete, and the table comes to what the server has."""
        return (
            self.full.complete
            and self.refresh.complete
            and (self.refresh.totals == {"USD": self.total})
        )


def changes_of(report: SyncReport) -> set[Told]:
    """What a report says was restated; each day once, or this fails."""
    told = [(c.account_id, c.from_date, c.old_total, c.new_total) for c in report.changes]
    assert len(told) == len(set(told))
    assert all(change.from_date == change.to_date for change in report.changes)
    return set(told)


def restated_cells(costs: Costs, seed: int) -> list[Cell]:
    """The account's days that are restated: a share of those that may be."""
    mutable = [cell for cell in costs if (LAST_DAY - cell[1]).days < MUTABLE_DAYS]
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
    return chance.sample(mutable, max(1, round(len(mutable) * SHARE_RESTATED)))


def measured(bills: list[Path], accounts: int, folder: Path, *, by_day: bool = True) -> Figures:
    """Sync, restate, and sync again.

    Args:
        bills: the real bill.
        accounts: over how many accounts it is spread.
        folder: where bills and table are made.
        by_day: whether the first sync asks day by day.
    """
    costs = replica(bills, accounts, FIRST_DAY, DAYS, SEED)
    cells = restated_cells(costs, SEED)
    later = restated(costs, cells, SEED)
    table, bill = str(folder / "costs"), folder / "bill.parquet"
    names = sorted({account for account, _ in costs})
    write_bill(costs, bill)
    with opponent(bills=[bill]) as base_url:
        full = asyncio.run(_synced(base_url, table, names, LAST_DAY, by_day=by_day))
    versions = _version(table), _version(f"{table}_ledger")
    write_bill(later, bill)
    with opponent(bills=[bill]) as base_url:
        next_day = LAST_DAY + timedelta(days=1)
        refresh = asyncio.run(_synced(base_url, table, names, next_day, by_day=False))
    return Figures(
        full,
        refresh,
        {(*cell, total_of(costs[cell]), total_of(later[cell])) for cell in cells},
        sum(map(total_of, later.values()), Decimal(0)),
        _written(table, versions[0]),
        _written(f"{table}_ledger", versions[1]),
    )


async def _synced(
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
    """What the commits after a version added and removed; and what there was before."""
    sizes: dict[str, int] = {}
    added = removed = before = 0
    for number, commit in enumerate(_commits(table)):
        for line in commit.read_text().splitlines():
            match json.loads(line):
                case {"add": {"path": path, "size": size}}:
                    sizes[path] = size
                    added += size if number > version else 0
                case {"remove": {"path": path}}:
                    gone = sizes.pop(path)
                    removed += gone if number > version else 0
        if number == version:
            before = sum(sizes.values())
    return Written(before, added, removed)


def main() -> None:
    """Print what a refresh found and cost, beside the bars; exit 1 where one is missed."""
    accounts = QUICK_ACCOUNTS if is_quick(__doc__) else ACCOUNTS
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(real_bill(), accounts, Path(folder))
    print(f"{accounts} accounts, {DAYS} days, in {time.monotonic() - started_s:.0f} s")
    for name, report in (("full, by day", found.full), ("refresh", found.refresh)):
        print(
            f"{name}: {report.requests} requests, {report.rows_written} rows written, "
            f"{report.elapsed_s:.1f} s"
        )
    print(f"{'figure':44} {'met':>10} {'bar':>8}")
    restated_days = len(found.restated)
    print(
        f"{'restated days that were found':44} "
        f"{restated_days - len(found.missed):>10} {restated_days:>8}"
    )
    print(f"{'changes that are none':44} {len(found.invented):>10} {0:>8}")
    print(
        f"{'requests, share of the full pull by day':44} {found.requests:>10.2%} "
        f"{MOST_REQUESTS:>8.0%}"
    )
    print(f"{'table comes to what the server has':44} {found.is_right!s:>10} {'True':>8}")
    for name, written in (("costs", found.costs), ("ledger", found.ledger)):
        print(
            f"{name}: of {written.before / 1000:.0f} KB, {written.removed / 1000:.0f} KB were "
            f"replaced by {written.added / 1000:.0f} KB"
        )
    good = not found.missed and not found.invented and found.is_right
    sys.exit(not (good and found.requests <= MOST_REQUESTS))


if __name__ == "__main__":
    main()
