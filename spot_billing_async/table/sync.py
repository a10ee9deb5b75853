"""The skin: asks what is due, and commits what came. What to do is decided elsewhere, purely."""

import time
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from functools import reduce
from os import PathLike

from anyio.to_thread import run_sync

from spot_billing_async.client import TenantClient
from spot_billing_async.models import GroupBy
from spot_billing_async.models.money import merge_totals
from spot_billing_async.models.validation import check_count
from spot_billing_async.models.windows import DateWindow
from spot_billing_async.table.batch import Batch
from spot_billing_async.table.diff import Known
from spot_billing_async.table.planning.due import TableWindow, due_windows
from spot_billing_async.table.planning.planner import LearningPlanner, Planner
from spot_billing_async.table.planning.runner import Rounds
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.reconcile import reconciled
from spot_billing_async.table.report import Books, Reconciliation, SyncPlan, SyncReport
from spot_billing_async.table.scope import AUTO, Scope, checked_scope
from spot_billing_async.table.slices import Entry, by_account
from spot_billing_async.table.storage.store import TableStore
from spot_billing_async.table.writer import Progress, Writing

MUTABLE_DAYS = 45


async def plan(
    table: str | PathLike[str],
    *,
    accounts: Iterable[str | None],
    from_date: date,
    to_date: date,
    group_by: GroupBy | None = None,
    window: TableWindow = AUTO,
    mutable_days: int = MUTABLE_DAYS,
    today: date | None = None,
    client: TenantClient | None = None,
) -> SyncPlan:
    """What a sync would ask for, from the ledger alone; nothing is sent, and nothing is made.

    The arguments are those of `sync`. What a `client` has learned of the server's rate limit is
    used; without one, or where it has not asked for costs yet, what the last sync had learned.

    Raises:
        ConfigError: an argument is not usable; names it, its value and what is allowed.
        TableError: the ledger could not be read, or one of the two tables is gone.
    """
    scope = checked_scope(
        table,
        accounts=accounts,
        from_date=from_date,
        to_date=to_date,
        group_by=group_by,
        window=window,
        mutable_days=mutable_days,
        today=today,
    )
    store = await run_sync(TableStore.opened, scope.table)
    widths = await run_sync(store.widths, scope.group_by)
    agenda = _agenda(await run_sync(_due, store, scope), scope, widths)
    rate_limit = None if client is None else client.costs.rate_limit
    answered = await run_sync(store.breakdowns)
    return SyncPlan(
        requests=await run_sync(lambda: agenda.requests),
        due_days=agenda.days,
        skipped_days=scope.planned_days - agenda.days,
        rate_limit=rate_limit or await run_sync(store.rate_limit),
        is_lower_bound=scope.window == AUTO and agenda.days > 0 and scope.group_by not in answered,
    )


async def sync(
    client: TenantClient,
    table: str | PathLike[str],
    *,
    accounts: Iterable[str | None],
    from_date: date,
    to_date: date,
    group_by: GroupBy | None = None,
    window: TableWindow = AUTO,
    mutable_days: int = MUTABLE_DAYS,
    max_requests: int | None = None,
    reconcile: bool = False,
    today: date | None = None,
    batch_requests: int = 64,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring a Delta table of costs in step with the API.

    Asked for is what the ledger, a table beside it, does not have, and what may have been restated
    since it was answered. Slices are replaced whole, and only where their content changed. Ended at
    any moment, in whatever way, what was committed stays, and the next run asks for the rest.

    Args:
        client: an entered client, or a view of one.
        table: a folder, which is new or empty at first, or the URI of an object store that
            deltalake knows; made where it is not there. The ledger is at `<table>_ledger`.
        accounts: account ids.
        from_date: first day, included.
        to_date: last day, included.
        group_by: "account", "service", "region", "family", or None. A table may hold several
            breakdowns, each of which has all the money.
        window: days a request. "auto": as many as the server bears; what fails for its size is
            asked in halves, and the width that was found is remembered for the account. Rows that
            carry no day are then asked for day by day. Otherwise as for `CostPlan.build`.
        mutable_days: a day is asked again until it was answered at this age, in days.
        max_requests: cost requests sent at most, retries, further pages and reconciling included;
            None for no limit. What is left is then 'not started'.
        reconcile: in the end, ask for each account's range at once, and compare the sums.
        today: the current day; None for that of the clock, UTC.
        batch_requests: answers that are committed together at most, 1 or more.
        progress: is told how far it is.

    Returns:
        The books. Failed windows are in them, not raised: `complete` says whether there are any.

    Raises:
        ConfigError: an argument is not usable; nothing was made or sent.
        TableConflictError: another sync changed the same slices meanwhile.
        TableError: the table could not be read or written, or one of the two is gone.
    """
    started_s = time.monotonic()
    scope = checked_scope(
        table,
        accounts=accounts,
        from_date=from_date,
        to_date=to_date,
        group_by=group_by,
        window=window,
        mutable_days=mutable_days,
        today=today,
    )
    check_count("batch_requests", batch_requests)
    if max_requests is not None:
        check_count("max_requests", max_requests)
    store = await run_sync(TableStore.made, scope.table)
    widths = await run_sync(store.widths, scope.group_by)
    agenda = _agenda(await run_sync(_due, store, scope), scope, widths)
    known = Known(await run_sync(_unsettled, store, scope))
    books = Books(scope.planned_days, agenda.days)
    batch = Batch(store, scope, known, books, batch_requests)
    writing = Writing(client, scope, widths, batch, books, progress)
    rounds = Rounds(client, scope.group_by, agenda, writing, max_requests)
    await rounds.run()
    found = Reconciliation()
    if reconcile:
        found = await reconciled(client, store, scope, rounds.requests_left)
    totals = await run_sync(_totals, store, scope)
    return books.report(found, totals, time.monotonic() - started_s)


def _due(store: TableStore, scope: Scope) -> dict[str, list[DateWindow]]:
    """The days of each account that are to be asked."""
    keys = store.settled(scope.group_by, scope.days, scope.mutable_days)
    return {
        account_id: list(due_windows(scope.days, settled))
        for account_id, settled in by_account(keys, scope.accounts).items()
    }


def _agenda(due: dict[str, list[DateWindow]], scope: Scope, widths: WindowSizer) -> Planner:
    """In which windows they are asked."""
    return LearningPlanner(due, widths) if scope.window == AUTO else Planner(due, scope.window)


def _unsettled(store: TableStore, scope: Scope) -> list[Entry]:
    """What the ledger knows of what is asked again."""
    accounts = set(scope.accounts)
    entries = store.unsettled(scope.group_by, scope.days, scope.mutable_days)
    return [entry for entry in entries if entry.account_id in accounts]


def _totals(store: TableStore, scope: Scope) -> dict[str, Decimal]:
    """What the ledger has of the range, by currency."""
    entries = store.ledger_totals(scope.accounts, scope.group_by, scope.days)
    return reduce(merge_totals, entries, dict[str, Decimal]())
