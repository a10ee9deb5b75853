"""Whether the table's rows add up to what the API says in one wide request an account."""

from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from anyio.to_thread import run_sync

from spot_billing_async.bulk.outcome import Failed
from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.client import TenantClient
from spot_billing_async.errors import RequestLimitReachedError
from spot_billing_async.models import CostItem, GroupBy
from spot_billing_async.models.money import exact_sum, totals_by_currency
from spot_billing_async.table.doubt import DaySum
from spot_billing_async.table.report import Difference
from spot_billing_async.table.scope import Scope
from spot_billing_async.table.slices import account_of
from spot_billing_async.table.store import TableStore
from spot_billing_async.windows import DateWindow

_ZERO = Decimal(0)
_SPENT = "not reconciled: max_requests are spent"

Sums = dict[tuple[date | None, str], Decimal]
"""Sums by day and currency; the day is None where rows carry none."""


class Reconciliation(NamedTuple):
    """What was found, and what was sent to find it."""

    differences: tuple[Difference, ...] = ()
    unreconciled: tuple[Failed, ...] = ()
    requests: int = 0
    retries: int = 0


async def reconciled(
    client: TenantClient, store: TableStore, scope: Scope, max_requests: int | None
) -> Reconciliation:
    """Ask for each account's whole range at once, without a breakdown, and compare it by day.

    Another request than the table came from, so that what went wrong there is not repeated here:
    a table that has no breakdown is compared with one by account. Days that differ are no longer
    settled: the next sync asks for them again, however old they are.

    Raises:
        TableConflictError, TableError: as `TableStore.commit`.
    """
    differences: list[Difference] = []
    failed: list[Failed] = []
    breakdown: GroupBy | None = "account" if scope.group_by is None else None
    plan = CostPlan.build(scope.accounts, *scope.days, "whole", breakdown)
    if max_requests == 0:
        spent = RequestLimitReachedError(_SPENT)
        return Reconciliation(unreconciled=tuple(Failed(query, spent, 0, 0.0) for query in plan))
    async with client.costs.pull(plan, max_requests=max_requests) as run:
        async for outcome in run:
            if isinstance(outcome, Failed):
                failed.append(outcome)
                continue
            account_id = account_of(outcome.query)
            sums = await run_sync(
                lambda name: list(store.day_sums(name, scope.group_by, scope.days)), account_id
            )
            differ = list(differences_of(account_id, scope.days, sums, outcome.items))
            if differ:
                days = [DateWindow(each.from_date, each.to_date) for each in differ]
                await run_sync(store.doubt, account_id, scope.group_by, days, sums)
            differences += differ
    differences.sort(key=lambda found: (found.account_id, found.from_date, found.currency))
    report = run.report
    return Reconciliation(tuple(differences), tuple(failed), report.requests, report.retries)


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
        if item.cost is not None
        for code, amount in totals_by_currency([item.cost], [item.currency]).items()
    )


def _whole(sums: Sums) -> Sums:
    return _added(((None, currency), amount) for (_, currency), amount in sums.items())


def _added(amounts: Iterable[tuple[tuple[date | None, str], Decimal]]) -> Sums:
    sums: Sums = {}
    for key, amount in amounts:
        sums[key] = exact_sum((amount,), sums.get(key, _ZERO))
    return sums
