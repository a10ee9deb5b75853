"""Reconciliation: comparison of the table's sums with one wide request for each account."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from decimal import Decimal

from anyio.to_thread import run_sync

from spot_billing_async._core.aio.tasks import finished
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import OutageError, RequestLimitReachedError
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.models.money import exact_sum, totals_by_currency
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.ledger import SliceKey, windows_by_account
from spot_billing_async.table.planning.planner import LearningPlanner
from spot_billing_async.table.planning.runner import SliceRunner
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.report import DaySum, Difference, Reconciliation
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.storage.store import TableStore

_ZERO = Decimal(0)

Sums = dict[tuple[date | None, str], Decimal]
"""Sums by day and currency; the day is None for rows without a date."""


async def reconcile_table(
    client: TenantClient,
    store: TableStore,
    scope: Scope,
    max_requests: int | None,
    outage: OutageError | None,
) -> Reconciliation:
    """Request each account's whole range without a breakdown, and compare the sums by day.

    These requests differ from those that filled the table, so that an error of the server is not
    repeated here: a table without a breakdown is compared with the breakdown by account. A window
    that is too wide for the server is requested in parts. Days that differ are no longer settled:
    the next sync requests them again, however old they are. Days that the table does not have are
    not compared; nor is anything after an outage for whose end the sync waited in vain.

    Raises:
        TableConflictError, TableError: as `TableStore.commit`.
    """
    group_by: GroupBy | None = "account" if scope.group_by is None else None
    days = await run_sync(
        lambda: windows_by_account(store.fetched_slices(scope.group_by, scope.days), scope.accounts)
    )
    comparer = TableComparer(store, scope)
    planner = LearningPlanner(days, WindowSizer())
    await SliceRunner(client, group_by, planner, comparer, max_requests, outage).run()
    return comparer.result()


class TableComparer:
    """Handler that compares the outcomes of slices with the table."""

    def __init__(self, store: TableStore, scope: Scope) -> None:
        self._store = store
        self._scope = scope
        self._differences: list[Difference] = []
        self._failures: list[Failed] = []
        self._requests = 0
        self._retries = 0

    async def on_fetched(self, key: SliceKey, fetched: Fetched[CostItem]) -> Sequence[int]:
        """Compare a response with the table; return the number of rows of each day."""
        self._differences += await finished(self._compare, key, fetched.items)
        return [len(fetched.items)] + [0] * (key.window.days - 1)

    def _compare(self, key: SliceKey, items: list[CostItem]) -> list[Difference]:
        """Return the differences of a slice, and invalidate the days that differ."""
        sums = list(self._store.day_sums(key, self._scope.group_by))
        differences = list(find_differences(key, sums, items))
        if differences:
            days = [DateWindow(each.from_date, each.to_date) for each in differences]
            self._store.invalidate(key.account_id, self._scope.group_by, days, sums)
        return differences

    def on_failed(self, failure: Failed, _days: int) -> None:
        """Record a slice that could not be compared."""
        self._failures.append(failure)

    def on_not_started(self, key: SliceKey) -> None:
        """Record a slice that was not compared."""
        error = RequestLimitReachedError("not sent: max_requests reached")
        self._failures.append(Failed(key.query(None), error, 0, 0.0))

    async def on_round_end(self, report: PullReport) -> None:
        """Count the requests."""
        self._requests += report.requests
        self._retries += report.retries

    def result(self) -> Reconciliation:
        """Return the differences and failures so far."""
        differences = sorted(
            self._differences, key=lambda each: (each.account_id, each.from_date, each.currency)
        )
        failures = tuple(self._failures)
        return Reconciliation(tuple(differences), failures, self._requests, self._retries)


def find_differences(
    key: SliceKey, table_sums: Iterable[DaySum], items: Iterable[CostItem]
) -> Iterator[Difference]:
    """Yield the differences by day, or over the whole window if any row carries no date."""
    in_table = _added(((each.day, each.currency), each.total) for each in table_sums)
    in_api = _added(
        ((item.date, code), amount)
        for item in items
        for code, amount in totals_by_currency([item.cost], [item.currency]).items()
    )
    if any(day is None for day, _ in (*in_table, *in_api)):
        in_table, in_api = _without_days(in_table), _without_days(in_api)
    for day, currency in {**in_table, **in_api}:
        table_total = in_table.get((day, currency), _ZERO)
        api_total = in_api.get((day, currency), _ZERO)
        if table_total != api_total:
            yield Difference(
                account_id=key.account_id,
                from_date=day or key.window.from_date,
                to_date=day or key.window.to_date,
                currency=currency,
                table_total=table_total,
                api_total=api_total,
            )


def _without_days(sums: Sums) -> Sums:
    return _added(((None, currency), amount) for (_, currency), amount in sums.items())


def _added(amounts: Iterable[tuple[tuple[date | None, str], Decimal]]) -> Sums:
    sums: Sums = {}
    for key, amount in amounts:
        sums[key] = exact_sum((amount,), sums.get(key, _ZERO))
    return sums
