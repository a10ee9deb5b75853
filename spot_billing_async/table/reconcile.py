"""Whether the table's rows add up to what the API says in one wide request an account."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

from anyio.to_thread import run_sync

from spot_billing_async._core.aio.tasks import finished
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import RequestLimitReachedError
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.models.money import exact_sum, totals_by_currency
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.planning.planner import Ask, LearningPlanner, query_of
from spot_billing_async.table.planning.runner import Rounds
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.report import Difference, Reconciliation
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import by_account
from spot_billing_async.table.storage.invalidation import DaySum
from spot_billing_async.table.storage.store import TableStore

_ZERO = Decimal(0)


_SPENT = "max_requests are spent"


Sums = dict[tuple[date | None, str], Decimal]
"""Sums by day and currency; the day is None where rows carry none."""


async def reconciled(
    client: TenantClient, store: TableStore, scope: Scope, max_requests: int | None
) -> Reconciliation:
    """Ask for each account's whole range at once, without a breakdown, and compare it by day.

    Another request than the table came from, so that what went wrong there is not repeated here:
    a table that has no breakdown is compared with one by account. A window that is too wide for the
    server is asked in parts. Days that differ are no longer settled: the next sync asks for them
    again, however old they are. Days that the table does not have are not compared.

    Raises:
        TableConflictError, TableError: as `TableStore.commit`.
    """
    breakdown: GroupBy | None = "account" if scope.group_by is None else None
    comparing = Comparing(store, scope)
    agenda = LearningPlanner(await run_sync(_there, store, scope), WindowSizer())
    await Rounds(client, breakdown, agenda, comparing, max_requests).run()
    return comparing.found()


def _there(store: TableStore, scope: Scope) -> dict[str, list[DateWindow]]:
    """The days that the table has, of each account."""
    return by_account(store.there(scope.group_by, scope.days), scope.accounts)


class Comparing:
    """Takes what the API says, and compares it with the table."""

    def __init__(self, store: TableStore, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._differences: list[Difference] = []
        self._failed: list[Failed] = []
        self._requests = 0
        self._retries = 0

    async def take(self, ask: Ask, answer: Fetched[CostItem]) -> Sequence[int]:
        """Compare an answer."""
        self._differences += await finished(self._compared, ask, answer.items)
        return [len(answer.items)] + [0] * (ask.window.days - 1)

    def _compared(self, ask: Ask, items: list[CostItem]) -> list[Difference]:
        account_id, group_by = ask.account_id, self._scope.group_by
        sums = list(self._store.day_sums(account_id, group_by, ask.window))
        found = list(differences_of(account_id, ask.window, sums, items))
        if found:
            days = [DateWindow(each.from_date, each.to_date) for each in found]
            self._store.doubt(account_id, group_by, days, sums)
        return found

    def fail(self, failure: Failed, _days: int) -> None:
        """Take note of days that could not be compared."""
        self._failed.append(failure)

    def leave(self, ask: Ask) -> None:
        """Take note of days that were not compared."""
        query = query_of(ask.account_id, ask.window, None)
        self._failed.append(Failed(query, RequestLimitReachedError(_SPENT), 0, 0.0))

    async def end_round(self, report: PullReport) -> None:
        """Count what was sent."""
        self._requests += report.requests
        self._retries += report.retries

    def found(self) -> Reconciliation:
        """What was found."""
        differences = sorted(
            self._differences, key=lambda each: (each.account_id, each.from_date, each.currency)
        )
        failed = tuple(self._failed)
        return Reconciliation(tuple(differences), failed, self._requests, self._retries)


def differences_of(
    account_id: str, days: DateWindow, table: Iterable[DaySum], api: Iterable[CostItem]
) -> Iterator[Difference]:
    """Where the two differ: by day, or over the whole range where some rows carry no day."""
    mine, theirs = _table_sums(table), _api_sums(api)
    if any(day is None for day, _ in (*mine, *theirs)):
        mine, theirs = _whole(mine), _whole(theirs)
    for day, currency in {**mine, **theirs}:
        had, says = mine.get((day, currency), _ZERO), theirs.get((day, currency), _ZERO)
        if had != says:
            yield Difference(
                account_id=account_id,
                from_date=day or days.from_date,
                to_date=day or days.to_date,
                currency=currency,
                table_total=had,
                api_total=says,
            )


def _table_sums(sums: Iterable[DaySum]) -> Sums:
    return _added(((each.day, each.currency), each.total) for each in sums)


def _api_sums(items: Iterable[CostItem]) -> Sums:
    return _added(
        ((item.date, code), amount)
        for item in items
        for code, amount in totals_by_currency([item.cost], [item.currency]).items()
    )


def _whole(sums: Sums) -> Sums:
    return _added(((None, currency), amount) for (_, currency), amount in sums.items())


def _added(amounts: Iterable[tuple[tuple[date | None, str], Decimal]]) -> Sums:
    sums: Sums = {}
    for key, amount in amounts:
        sums[key] = exact_sum((amount,), sums.get(key, _ZERO))
    return sums
