"""Syncs from a server that lies once: `python -m benchmarks.claims.lies`, shorter with `--quick`.

A small bill is synced and reconciled, from an emulator over a socket, page by page. Exactly one
answer of the server lies: it drops a page, repeats one, holds fewer rows than it counts, or has
lost a row and counts so. Which answer it is, what is synced how, and whether pages say how many
rows there are in all, follow from a seed. The lie may befall a first sync, one that asks again for
a table that is there, or one that nobody reconciled and whose days are settled since.

A lie is caught where the client asks again and ends with the right table, where the window fails,
or where reconciling raises the alarm: it names each day on which the table is wrong, by account,
with what the table has and what is right, or finds no answer to compare with. It has escaped where
the sync says that all is well, and names nothing. Whatever it was, the next sync, from a server
that has stopped lying, has to end with the right table. Syncs from a server that does not lie must
raise no alarm.

What is compared are sums. So where the bill has rows that cost nothing, one of these can be lost
without notice: how often, a further line tells. No money is missing then, and it has no bar.
"""

import asyncio
import itertools
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Literal, NamedTuple, get_args

from benchmarks.harness.opponent import TOKEN
from benchmarks.harness.quick import is_quick
from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient
from spot_billing_async.emulator import Emulator, Fault, FaultPlan
from spot_billing_async.models import GroupBy
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.telemetry import CallEnded, Event

LIES = tuple(fault for fault in Fault if fault.is_wrong_answer)
LIES_A_KIND, QUICK_LIES_A_KIND = 50, 5
CLEAN_RUNS, QUICK_CLEAN_RUNS = 1000, 40
FIRST_DAY, DAYS = date(2025, 3, 1), 12
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
ACCOUNTS = ("004215550001", "/subscriptions/2")
PAGE_SIZE = 4
COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "SubAccountId",
    "BillingCurrency",
    "ChargePeriodStart",
    "ProviderName",
    "ServiceName",
    "RegionId",
)
# One after the other: which request is the n-th is then known. And no pause before a second try.
CONFIG = ClientConfig(max_concurrency=1, retry=RetryPolicy(backoff_base_s=0.001))

Mode = Literal["first", "again", "settled"]
Row = tuple[str, date, str, Decimal]
Verdict = Literal[
    "asked again",
    "window failed",
    "day named",
    "not reconciled",
    "no sum wrong",
    "escaped",
    "stays wrong",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CAUGHT = VERDICTS[:4]


class Case(NamedTuple):
    """What is synced, how, and when the lie comes."""

    group_by: GroupBy | None
    window: Literal["auto"] | int
    mode: Mode
    total_count: bool


class Clean(NamedTuple):
    """What a sync comes to where nobody lies: its rows, and the pages of its calls in order."""

    rows: frozenset[Row]
    pages: tuple[int, ...]


@dataclass(frozen=True)
class Script(FaultPlan):
    """Lies by the number of the request that they befall; all others are told the truth."""

    lies: dict[int, Fault] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fault_at(self, point: float) -> Fault | None:  # noqa: ARG002  it is not left to chance
        """The lie of the next request, if any."""
        return self.lies.pop(next(self._numbers), None)


class Scene:
    """Emulators of one bill, and tables that are synced from them.

    Args:
        folder: where tables are made.
        free: which share of the bill's rows costs nothing.
    """

    def __init__(self, folder: Path, free: float) -> None:
        self._folder = folder
        self._free = free
        self._names = itertools.count()
        self._servers: dict[bool, tuple[Emulator, Script]] = {}
        self._clean: dict[Case, Clean] = {}

    async def start(self, stack: AsyncExitStack) -> None:
        """Start an emulator whose pages say how many rows there are in all, and one of others."""
        bill = self._folder / "bill.csv"
        bill.write_text(bill_text(self._free))
        for total_count in (False, True):
            script = Script(dict.fromkeys(LIES, 1 / len(LIES)))
            server = Emulator(
                focus=[bill],
                token=TOKEN,
                page_size=PAGE_SIZE,
                total_count=total_count,
                faults=script,
            )
            self._servers[total_count] = await stack.enter_async_context(server), script

    async def clean(self, case: Case) -> Clean:
        """What a case comes to without a lie."""
        if case not in self._clean:
            table, pages = self._table(), []

            def hook(event: Event) -> None:
                if isinstance(event, CallEnded):
                    pages.append(event.requests)

            if case.mode == "again":
                await self._sync(case, table)
            report = await self._sync(case, table, hook=hook, reconcile=case.mode != "settled")
            assert report.complete
            self._clean[case] = Clean(rows_of(table), tuple(pages))
        return self._clean[case]

    async def alarms(self, case: Case) -> list[str]:
        """Sync where nobody lies: whatever is said against that is a false alarm."""
        clean = await self.clean(case)
        table = self._table()
        reports = [await self._sync(case, table, reconcile=case.mode == "first")]
        if case.mode != "first":
            reports.append(await self._sync(case, table, reconcile=True))
        wrong = [] if rows_of(table) == clean.rows else [f"{case}: other rows"]
        return wrong + [
            f"{case}: {report}"
            for report in reports
            if not report.complete or report.changes or report.retries
        ]

    async def verdict(self, case: Case, lie: Fault, seed: int) -> Verdict:
        """Sync where one answer lies, and see what became of it."""
        clean, table = await self.clean(case), self._table()
        if case.mode == "again":
            await self._sync(case, table)
        server, script = self._servers[case.total_count]
        number = Random(seed).choice(rooms(lie, clean.pages))  # noqa: S311  a seeded trace, no secret
        script.lies[server.requests + number] = lie
        reports = [await self._sync(case, table, reconcile=case.mode != "settled")]
        assert not script.lies, "the lie was not told"
        if case.mode == "settled":
            reports.append(await self._sync(case, table, reconcile=True))
        verdict = judged(reports, rows_of(table), clean.rows)
        if verdict == "no sum wrong":
            return verdict
        after = await self._sync(case, table, reconcile=True)
        return verdict if after.complete and rows_of(table) == clean.rows else "stays wrong"

    async def _sync(self, case: Case, table: str, hook: Any = None, **options: Any) -> SyncReport:  # noqa: ANN401  as sync and client have them
        server, _ = self._servers[case.total_count]
        today = LAST_DAY + timedelta(days=90 if case.mode == "settled" else 0)
        async with SpotBillingClient(
            TOKEN, base_url=server.base_url, config=CONFIG, hook=hook
        ) as client:
            return await sync(
                client,
                table,
                accounts=ACCOUNTS,
                from_date=FIRST_DAY,
                to_date=LAST_DAY,
                group_by=case.group_by,
                window=case.window,
                today=today,
                **options,
            )

    def _table(self) -> str:
        return str(self._folder / str(next(self._names)))


@asynccontextmanager
async def scene(free: float = 0.0) -> Any:  # noqa: ANN401  an iterator of a Scene, as asynccontextmanager has it
    """A scene in a folder of its own, for as long as a block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            made = Scene(Path(folder), free)
            await made.start(stack)
            yield made


def bill_text(free: float) -> str:
    """A bill of which a share costs nothing."""
    chance = Random(4)  # noqa: S311  a seeded bill, no secret
    lines = [",".join(COLUMNS)]
    for account, day, service in itertools.product(ACCOUNTS, range(DAYS), ("EC2", "S3", "RDS")):
        if chance.random() < 0.9 or service == "S3":  # noqa: PLR2004  some are not used every day
            units = 0 if chance.random() < free else chance.randint(1, 10**12)
            cost = Decimal(chance.choice([-1, 1, 1, 1]) * units).scaleb(-10)
            start = FIRST_DAY + timedelta(days=day)
            region = chance.choice(["eu-1", "us-1"])
            lines.append(f"{cost},payer,{account},USD,{start}T00:00:00Z,AWS,{service},{region}")
    return "\n".join(lines) + "\n"


def case_of(seed: int) -> Case:
    """What follows from a seed."""
    chance = Random(seed)  # noqa: S311  a seeded trace, no secret
    breakdowns: list[GroupBy | None] = ["service", "region", "account", None]
    modes: list[Mode] = ["first", "again", "settled"]
    return Case(
        chance.choice(breakdowns),
        chance.choice(["auto", 5]),
        chance.choice(modes),
        chance.random() < 0.5,  # noqa: PLR2004  every other one
    )


def rooms(lie: Fault, pages: Sequence[int]) -> list[int]:
    """The numbers of the requests that have room for a lie, from 0.

    Args:
        lie: a page is dropped by the one before, and repeated in the place of a later one.
        pages: how many pages each call has.
    """
    places = [(page, last) for last in pages for page in range(1, last + 1)]
    match lie:
        case Fault.DROPPED_PAGE:
            return [n for n, (page, last) in enumerate(places) if page < last]
        case Fault.REPEATED_PAGE:
            return [n for n, (page, _) in enumerate(places) if page > 1]
        case _:
            return list(range(len(places)))


def rows_of(table: str) -> frozenset[Row]:
    """The costs of a table; no two of its rows are the same."""
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable  # noqa: PLC0415  see above

    rows = [
        (row["query_account_id"], row["date"], f"{row['service']} {row['region']}", row["cost"])
        for row in DeltaTable(table).to_pyarrow_table().to_pylist()
    ]
    assert len(set(rows)) == len(rows)
    return frozenset(rows)


def judged(reports: Sequence[SyncReport], rows: frozenset[Row], truth: frozenset[Row]) -> Verdict:
    """What became of a lie.

    Args:
        reports: of the sync that was lied to, and of the one that reconciled.
        rows: what the table has in the end.
        truth: what it should have.
    """
    last = reports[-1]
    if any(report.failures for report in reports):
        return "window failed" if rows <= truth else "escaped"
    if last.differences:
        return "day named" if _are_right(last, _day_sums(rows), _day_sums(truth)) else "escaped"
    if last.unreconciled:
        return "not reconciled" if rows == truth else "escaped"
    retried = any(report.retries for report in reports)
    if rows == truth:
        return "asked again" if retried and last.complete else "no sum wrong"
    return "no sum wrong" if _day_sums(rows) == _day_sums(truth) else "escaped"


def _are_right(
    report: SyncReport, had: dict[tuple[str, date], Decimal], real: dict[tuple[str, date], Decimal]
) -> bool:
    """Whether the differences name each wrong day of the table, and say what is there in truth.

    Where the table is right, and it is the reconciling answer that lied, what it says is wrong.
    """
    wrong = {key for key in {*had, *real} if had.get(key) != real.get(key)}
    named = {(each.account_id, each.from_date): each for each in report.differences}
    return wrong <= named.keys() and all(
        each.from_date == each.to_date
        and each.table_total == had.get(key, 0)
        and (each.api_total == real.get(key, 0)) == (key in wrong)
        for key, each in named.items()
    )


def _day_sums(rows: frozenset[Row]) -> dict[tuple[str, date], Decimal]:
    """What rows come to by account and day; a day of nothing is as one without rows."""
    sums: dict[tuple[str, date], Decimal] = {}
    for account, day, _, cost in rows:
        sums[account, day] = sums.get((account, day), Decimal(0)) + cost
    return {cell: total for cell, total in sums.items() if total}


async def measured_free(lies: int) -> Counter[Verdict]:
    """What becomes of so many lost rows where about half of all cost nothing, as in real bills."""
    async with scene(0.5) as made:
        verdicts = [await made.verdict(case_of(n), Fault.LOST_ROW, n) for n in range(lies)]
    return Counter(verdicts)


async def measured(lies: int, clean_runs: int) -> tuple[dict[Fault, Counter[Verdict]], list[str]]:
    """What became of so many lies of each kind, and the alarms of so many runs without one."""
    met: dict[Fault, Counter[Verdict]] = {lie: Counter() for lie in LIES}
    alarms: list[str] = []
    async with scene() as made:
        for lie, seed in itertools.product(LIES, range(lies)):
            verdict = await made.verdict(case_of(seed), lie, seed)
            met[lie][verdict] += 1
            if verdict not in CAUGHT:
                print(f"{verdict}: {lie.value}, seed {seed}, {case_of(seed)}", flush=True)
        for seed in range(clean_runs):
            alarms += await made.alarms(case_of(seed))
    return met, alarms


def show(name: str, counts: Counter[Verdict], bar: str) -> None:
    """Print a line of the table."""
    shown = "".join(f"{counts[verdict]:>16}" for verdict in VERDICTS)
    print(f"{name:16}{shown}{sum(counts[verdict] for verdict in CAUGHT):>8} {bar}")


def main() -> None:
    """Print what became of each kind of lie, beside the bars; exit 1 where one escaped."""
    quick = is_quick(__doc__)
    lies = QUICK_LIES_A_KIND if quick else LIES_A_KIND
    clean_runs = QUICK_CLEAN_RUNS if quick else CLEAN_RUNS
    met, alarms = asyncio.run(measured(lies, clean_runs))
    free = asyncio.run(measured_free(lies))
    print(f"{'lie':16}" + "".join(f"{verdict:>16}" for verdict in VERDICTS) + f"{'caught':>8} bar")
    for lie, counts in met.items():
        show(lie.value, counts, str(lies))
    show("lost, half free", free, "none")
    caught = sum(counts[verdict] for counts in met.values() for verdict in CAUGHT)
    print(f"caught in all: {caught}; bar {lies * len(LIES)}")
    print(f"alarms of {clean_runs} runs without a lie: {len(alarms)}; bar 0")
    print("\n".join(alarms[:20]))
    sys.exit(caught < lies * len(LIES) or bool(alarms))


if __name__ == "__main__":
    main()
