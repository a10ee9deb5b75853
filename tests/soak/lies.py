"""Syncs from a server that lies once: one of its responses is well-formed and wrong.

A small bill is synced and reconciled from an emulator over a socket, page by page. Exactly one
response drops a page, repeats one, holds fewer rows than it counts, or lost a row and counts
without it. The seed decides which response it is, what is synced in which windows, and whether
pages state the total number of rows. The lie comes in a first sync, in one that fetches an existing
table again, or in one that is not reconciled and whose days are settled afterwards.

A lie is caught where the client retries and ends with the correct table, where the window fails, or
where reconciling reports it: then it names each day on which the table is wrong, by account, with
the total of the table and the correct one, or has no response to compare with. A lie has escaped
where the sync reports success and names nothing. In every case the next sync, from a server that
no longer lies, must end with the correct table. Syncs from a server that does not lie must report
no difference.

Only sums are compared. Where the bill has rows that cost nothing, one of them can be lost without
a report; no money is missing then. `measure_free_rows` counts how often.
"""

import itertools
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

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient
from spot_billing_async.emulator import Emulator, Fault, FaultPlan
from spot_billing_async.models import GroupBy
from spot_billing_async.table import SyncReport, sync
from spot_billing_async.telemetry import CallEnded, Event
from tests.support_processes import TOKEN

LIES = tuple(fault for fault in Fault if fault.is_lie)
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
# One request at a time, so that it is known which one is the n-th; and no pause before a retry.
CONFIG = ClientConfig(max_concurrency=1, retry=RetryPolicy(backoff_base_s=0.001))

Mode = Literal["first", "again", "settled"]
Row = tuple[str, date, str, Decimal]
Verdict = Literal[
    "retried",
    "window failed",
    "day named",
    "not reconciled",
    "no sum wrong",
    "escaped",
    "not repaired",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
CAUGHT = VERDICTS[:4]


class Case(NamedTuple):
    """Options of a sync, and when the lie comes."""

    group_by: GroupBy | None
    window: Literal["auto"] | int
    mode: Mode
    total_count: bool


class Clean(NamedTuple):
    """Result of a sync without a lie: its rows, and the number of pages of each call in order."""

    rows: frozenset[Row]
    pages: tuple[int, ...]


@dataclass(frozen=True)
class Script(FaultPlan):
    """A fault plan that lies in the responses to given requests, by their number from 0."""

    lies: dict[int, Fault] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def fault_at(self, point: float) -> Fault | None:  # noqa: ARG002  no chance is involved
        """Return the lie of the next request, if any."""
        return self.lies.pop(next(self._numbers), None)


class Scene:
    """Emulators of one bill, and tables that are synced from them.

    Args:
        folder: folder of the tables.
        free: share of the bill's rows that cost nothing.
    """

    def __init__(self, folder: Path, free: float) -> None:
        self._folder = folder
        self._free = free
        self._names = itertools.count()
        self._servers: dict[bool, tuple[Emulator, Script]] = {}
        self._clean: dict[Case, Clean] = {}

    async def start(self, stack: AsyncExitStack) -> None:
        """Start two emulators: pages of the second one state the total number of rows."""
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
        """Return the result of a case without a lie."""
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
        """Sync without a lie, and return a line for each false alarm."""
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
        """Sync with a lie in one response, and return how it was handled."""
        clean, table = await self.clean(case), self._table()
        if case.mode == "again":
            await self._sync(case, table)
        server, script = self._servers[case.total_count]
        number = Random(seed).choice(requests_for(lie, clean.pages))  # noqa: S311  a seeded trace, no secret
        script.lies[server.requests + number] = lie
        reports = [await self._sync(case, table, reconcile=case.mode != "settled")]
        assert not script.lies, "no response lied"
        if case.mode == "settled":
            reports.append(await self._sync(case, table, reconcile=True))
        verdict = judged(reports, rows_of(table), clean.rows)
        if verdict == "no sum wrong":
            return verdict
        after = await self._sync(case, table, reconcile=True)
        return verdict if after.complete and rows_of(table) == clean.rows else "not repaired"

    async def _sync(self, case: Case, table: str, hook: Any = None, **options: Any) -> SyncReport:
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
async def scene(free: float = 0.0) -> Any:
    """Yield a scene in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            made = Scene(Path(folder), free)
            await made.start(stack)
            yield made


def bill_text(free: float) -> str:
    """Return a bill as CSV; `free` is the share of its rows that cost nothing."""
    random = Random(4)  # noqa: S311  a seeded bill, no secret
    lines = [",".join(COLUMNS)]
    for account, day, service in itertools.product(ACCOUNTS, range(DAYS), ("EC2", "S3", "RDS")):
        if random.random() < 0.9 or service == "S3":  # some are not used every day
            units = 0 if random.random() < free else random.randint(1, 10**12)
            cost = Decimal(random.choice([-1, 1, 1, 1]) * units).scaleb(-10)
            start = FIRST_DAY + timedelta(days=day)
            region = random.choice(["eu-1", "us-1"])
            lines.append(f"{cost},payer,{account},USD,{start}T00:00:00Z,AWS,{service},{region}")
    return "\n".join(lines) + "\n"


def case_of(seed: int) -> Case:
    """Return the case of a seed."""
    random = Random(seed)  # noqa: S311  a seeded trace, no secret
    breakdowns: list[GroupBy | None] = ["service", "region", "account", None]
    modes: list[Mode] = ["first", "again", "settled"]
    return Case(
        random.choice(breakdowns),
        random.choice(["auto", 5]),
        random.choice(modes),
        random.random() < 0.5,
    )


def requests_for(lie: Fault, pages: Sequence[int]) -> list[int]:
    """Return the numbers of the requests that can have a lie, from 0.

    Args:
        lie: its kind. A page is dropped by the one before, and repeated in place of a later one.
        pages: number of pages of each call.
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
    """Return the costs of a table, no two rows of which may be equal."""
    # Late: deltalake belongs to an extra.
    from deltalake import DeltaTable  # noqa: PLC0415  see above

    rows = [
        (row["query_account_id"], row["date"], f"{row['service']} {row['region']}", row["cost"])
        for row in DeltaTable(table).to_pyarrow_table().to_pylist()
    ]
    assert len(set(rows)) == len(rows)
    return frozenset(rows)


def judged(reports: Sequence[SyncReport], rows: frozenset[Row], truth: frozenset[Row]) -> Verdict:
    """Return how a lie was handled.

    Args:
        reports: reports of the sync with the lie, and of the one that reconciled.
        rows: the table's rows in the end.
        truth: the correct rows.
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
        return "retried" if retried and last.complete else "no sum wrong"
    return "no sum wrong" if _day_sums(rows) == _day_sums(truth) else "escaped"


def _are_right(
    report: SyncReport, had: dict[tuple[str, date], Decimal], real: dict[tuple[str, date], Decimal]
) -> bool:
    """Return True if the differences name each wrong day, with the table's and the correct total.

    Where the table is right and the reconciling response lied, the total that it names is wrong.
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
    """Return sums by account and day; a day with a sum of 0 counts as one without rows."""
    sums: dict[tuple[str, date], Decimal] = {}
    for account, day, _, cost in rows:
        sums[account, day] = sums.get((account, day), Decimal(0)) + cost
    return {cell: total for cell, total in sums.items() if total}


async def measure_free_rows(lies: int) -> Counter[Verdict]:
    """Return how lost rows are handled where about half of all rows cost nothing."""
    async with scene(0.5) as made:
        verdicts = [await made.verdict(case_of(n), Fault.LOST_ROW, n) for n in range(lies)]
    return Counter(verdicts)


async def measure(
    lies: int, clean_runs: int
) -> tuple[dict[Fault, Counter[Verdict]], list[str], list[str]]:
    """Sync with a number of lies of each kind, and a number of times without one.

    Returns:
        How the lies were handled, a line for each that was not caught, and the false alarms.
    """
    verdicts: dict[Fault, Counter[Verdict]] = {lie: Counter() for lie in LIES}
    not_caught: list[str] = []
    alarms: list[str] = []
    async with scene() as made:
        for lie, seed in itertools.product(LIES, range(lies)):
            verdict = await made.verdict(case_of(seed), lie, seed)
            verdicts[lie][verdict] += 1
            if verdict not in CAUGHT:
                not_caught.append(f"{verdict}: {lie.value}, seed {seed}, {case_of(seed)}")
        for seed in range(clean_runs):
            alarms += await made.alarms(case_of(seed))
    return verdicts, not_caught, alarms
