"""I/O layer of a sync: fetches the days that are due and commits them."""

import time
from collections.abc import Iterable
from datetime import date
from os import PathLike

from anyio.to_thread import run_sync

from spot_billing_async.client import TenantClient
from spot_billing_async.models import GroupBy
from spot_billing_async.models.validation import check_count
from spot_billing_async.table.batch import CommitBatch
from spot_billing_async.table.diff import ReplaceableEntries
from spot_billing_async.table.ledger import windows_by_account
from spot_billing_async.table.planning.due import TableWindow, due_windows
from spot_billing_async.table.planning.planner import LearningPlanner, Planner
from spot_billing_async.table.planning.runner import SliceRunner
from spot_billing_async.table.planning.window_sizing import WindowSizer
from spot_billing_async.table.reconcile import reconcile_table
from spot_billing_async.table.report import Reconciliation, SyncPlan, SyncProgress, SyncReport
from spot_billing_async.table.scope import AUTO, Scope, checked_scope
from spot_billing_async.table.storage.store import TableStore
from spot_billing_async.table.writer import ProgressCallback, TableWriter

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
    """Return what a sync would request, from the ledger alone; send and create nothing.

    The arguments are those of `sync`. The rate limit is the one that `client` has learned from the
    server; without a client, or before its first cost query, the one that the last sync stored.

    Raises:
        ConfigError: an argument is not valid; the message names it, what is allowed, and its value.
        TableError: the ledger could not be read, or one of the two tables is missing.
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
    store = await run_sync(TableStore.open, scope.table)
    sizer = await run_sync(store.window_sizer, scope.group_by)
    planner = await run_sync(_planner, store, scope, sizer)
    rate_limit = None if client is None else client.costs.rate_limit
    breakdowns = await run_sync(store.breakdowns)
    return SyncPlan(
        requests=await run_sync(lambda: planner.requests),
        due_days=planner.days,
        skipped_days=scope.planned_days - planner.days,
        rate_limit=rate_limit or await run_sync(store.rate_limit),
        is_lower_bound=(
            scope.window == AUTO and planner.days > 0 and scope.group_by not in breakdowns
        ),
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
    progress: ProgressCallback | None = None,
) -> SyncReport:
    """Bring a Delta table of costs in step with the API.

    It requests the days that the ledger (a table beside the costs, which records what was fetched)
    does not have, and those that may have been restated since they were fetched. Slices are
    replaced whole, and only if their content changed. If a sync is interrupted, by an error, a
    cancellation or a kill, what was committed stays, and the next sync requests the rest.

    Args:
        client: an entered client, or a tenant's view of one.
        table: a folder, new or empty before the first sync, or a URI of an object store that
            deltalake supports; created if it does not exist. The ledger is at `<table>_ledger`.
        accounts: account ids.
        from_date: first day, inclusive.
        to_date: last day, inclusive.
        group_by: "account", "service", "region", "family", or None. A table may hold several
            breakdowns, each with all the costs.
        window: days per request. "auto" uses windows as wide as the server accepts: a window that
            is too wide is requested in halves, and the width found is remembered for the account;
            rows without a date are requested day by day. Other values are as for `CostPlan.build`.
        mutable_days: a day is settled, and not requested again, once it was fetched at this age in
            days.
        max_requests: maximum number of cost requests, including retries, further pages and
            reconciling; None for no limit. The remaining days are then 'not started'.
        reconcile: whether to request each account's whole range at the end and compare the sums.
        today: the current day; None for the clock's, UTC.
        batch_requests: maximum number of responses per commit, 1 or more.
        progress: called on the event loop with the number of done days and of due days.

    Returns:
        The report. Windows that failed are listed there, not raised; check `complete`.

    Raises:
        ConfigError: an argument is not valid; nothing was created or sent.
        TableConflictError: another sync changed the same slices at the same time.
        TableError: the table could not be read or written, or one of the two tables is missing.
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
    # deltalake blocks, and the planner reads the ledger: both run in worker threads.
    store = await run_sync(TableStore.open_or_create, scope.table)
    sizer = await run_sync(store.window_sizer, scope.group_by)
    planner = await run_sync(_planner, store, scope, sizer)
    # The entries are read row by row, so the index is built in the worker thread.
    selection = (scope.accounts, scope.group_by, scope.days)
    replaceable = await run_sync(
        lambda: ReplaceableEntries(store.unsettled_entries(*selection, scope.mutable_days))
    )
    counters = SyncProgress(scope.planned_days, planner.days)
    batch = CommitBatch(store, scope, replaceable, counters, batch_requests)
    writer = TableWriter(client, scope, sizer, batch, counters, progress)
    runner = SliceRunner(client, scope.group_by, planner, writer, max_requests)
    await runner.run()
    reconciliation = Reconciliation()
    if reconcile:
        reconciliation = await reconcile_table(
            client, store, scope, runner.requests_left, runner.outage
        )
    totals = await run_sync(store.totals, *selection)
    return counters.report(reconciliation, totals, time.monotonic() - started_s)


def _planner(store: TableStore, scope: Scope, sizer: WindowSizer) -> Planner:
    """Return the planner of the days that are due."""
    keys = store.settled_slices(scope.group_by, scope.days, scope.mutable_days)
    due = {
        account_id: list(due_windows(scope.days, settled))
        for account_id, settled in windows_by_account(keys, scope.accounts).items()
    }
    return LearningPlanner(due, sizer) if scope.window == AUTO else Planner(due, scope.window)
