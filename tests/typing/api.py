"""Types of the public API; mypy checks this file, and it is never run."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import msgspec
import structlog
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.websockets import WebSocket

from spot_billing_async import (
    AccountFamily,
    Acknowledgement,
    BillingAccount,
    CostItem,
    CostPlan,
    CostQuery,
    Failed,
    Fetched,
    PullReport,
    SpotBillingClient,
    SpotBillingError,
    TenantClient,
    deadline,
)
from spot_billing_async.cache import CachePolicy, CostCache, MemoryStore, Store
from spot_billing_async.fastapi import (
    CostStream,
    RequestDeadline,
    SpotBilling,
    add_error_handlers,
    client_of,
    spot_billing_lifespan,
    stream_costs,
)
from spot_billing_async.logs import LoggingHook, StructlogHook
from spot_billing_async.otel import OpenTelemetryHook
from spot_billing_async.redis import RedisStore
from spot_billing_async.table import Change, DaySum, SyncPlan, SyncReport, day_sums, plan, sync
from spot_billing_async.telemetry import Hook, fan_out
from spot_billing_async.testing import running_emulator


class Row(msgspec.Struct):
    """Item type of a caller."""

    cost: Decimal


async def provider() -> str:
    """Provide a token."""
    return "t"


async def single_calls(client: SpotBillingClient) -> None:
    """Each call has its own return type."""
    assert_type(await client.accounts.list(), list[BillingAccount])
    assert_type(await client.families.list(), list[AccountFamily])
    assert_type(await client.families.get("f"), AccountFamily | None)
    assert_type(await client.families.create(name="n"), AccountFamily)
    assert_type(await client.families.update("f", name="n"), AccountFamily)
    acknowledged = await client.billing_engine.validate(cloud_provider="x", billing_account_id="1")
    assert_type(acknowledged, Acknowledgement)
    assert_type(await client.costs.get("a", date(2018, 1, 1)), list[CostItem])
    assert_type(await client.costs.get("a", item_type=Row), list[Row])
    assert_type(client.with_token(provider), TenantClient)


async def caches() -> None:
    """Check that a cache accepts any store, and that `uncached` has the same calls."""
    stores: list[Store] = [MemoryStore(1024), RedisStore("redis://localhost")]
    cache = CostCache(stores[0], CachePolicy(mutable_ttl_s=60.0))
    async with SpotBillingClient(cache=cache) as client:
        assert_type(await client.costs.uncached.get("a", date(2018, 1, 1)), list[CostItem])


async def pulls(client: SpotBillingClient) -> None:
    """Check that a run yields outcomes of its item type, and has a report."""
    accounts = await client.accounts.list()
    plan = CostPlan.build(
        (account.account_id for account in accounts), date(2018, 1, 1), date(2018, 1, 1), window=7
    )
    assert_type(plan[0], CostQuery)
    assert_type(plan[:2], list[CostQuery])
    async with client.costs.pull(plan, ordered=True) as run:
        async for outcome in run:
            match outcome:
                case Fetched(query=query, items=items):
                    assert_type(query, CostQuery)
                    assert_type(items, list[CostItem])
                case Failed(error=error):
                    assert_type(error, SpotBillingError)
    assert_type(run.report, PullReport)
    assert_type(run.report.totals, Mapping[str, Decimal])
    async with client.costs.pull([CostQuery(account_id="a")], max_requests=1) as listed:
        assert_type(await anext(listed), Fetched[CostItem] | Failed)
    async with client.costs.pull(plan, Row) as own:
        async for outcome_of_rows in own:
            assert_type(outcome_of_rows, Fetched[Row] | Failed)


async def tables(client: SpotBillingClient) -> None:
    """Check that the table's functions accept a client and a tenant's view."""
    first, last = date(2018, 1, 1), date(2018, 1, 31)
    for each in (client, client.with_token("t")):
        report = await sync(each, "t", accounts=["a"], from_date=first, to_date=last, window="auto")
        assert_type(report, SyncReport)
        assert_type(report.changes, tuple[Change, ...])
        assert_type(report.changes[0].difference, Decimal)
    planned = await plan("t", accounts=["a"], from_date=first, to_date=last, window=7)
    assert_type(planned, SyncPlan)
    assert_type(await day_sums("t", "service"), list[DaySum])
    assert_type(await day_sums(Path("t")), list[DaySum])
    assert_type(
        await sync(client, Path("t"), accounts=[], from_date=first, to_date=last), SyncReport
    )
    assert_type(await plan(Path("t"), accounts=[], from_date=first, to_date=last), SyncPlan)


async def apps(request: Request, socket: WebSocket, client: SpotBilling) -> CostStream:
    """Check that the FastAPI integration accepts apps of FastAPI and of Starlette."""
    for app in (
        FastAPI(lifespan=spot_billing_lifespan(token="t")),
        Starlette(lifespan=spot_billing_lifespan()),
    ):
        add_error_handlers(app)
        app.add_middleware(RequestDeadline, default_s=30)
        assert_type(client_of(app), SpotBillingClient)
    assert_type(client_of(request), SpotBillingClient)
    assert_type(client_of(socket), SpotBillingClient)
    assert_type(client, SpotBillingClient)
    with deadline(1.5), running_emulator() as server:
        assert_type(SpotBillingClient(**server.client_arguments), SpotBillingClient)
    return stream_costs(client.costs.pull([CostQuery(account_id="a")]), format="sse")


def telemetry(
    log: structlog.stdlib.BoundLogger, quick: structlog.typing.FilteringBoundLogger
) -> None:
    """Every hook, and several combined, has the type Hook."""
    hook = fan_out(LoggingHook(), StructlogHook(log), StructlogHook(quick), OpenTelemetryHook())
    assert_type(hook, Hook)
    SpotBillingClient(hook=LoggingHook())
