"""A request's own deadline holds for what the client does for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import aiohttp
import msgspec
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from spot_billing_async import ConfigError, CostPlan
from spot_billing_async._core.aio.deadline import hard_end_s
from spot_billing_async.emulator import Emulator
from spot_billing_async.fastapi import (
    CostStream,
    RequestDeadline,
    SpotBilling,
    add_error_handlers,
    spot_billing_lifespan,
    stream_costs,
)
from tests.fastapi.conftest import TOKEN
from tests.support import serve_app

DAY = date(2024, 1, 1)


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[str]:
    """An app whose API answers after ten minutes."""
    async with Emulator(token=TOKEN, latency="600s") as server:
        lifespan = spot_billing_lifespan(token=TOKEN, base_url=server.base_url)
        app = FastAPI(lifespan=lifespan)
        add_error_handlers(app)
        app.add_middleware(RequestDeadline, **options)

        @app.get("/accounts")
        async def accounts(client: SpotBilling) -> int:
            return len(await client.accounts.list())

        @app.get("/costs")
        async def costs(client: SpotBilling) -> CostStream:
            return stream_costs(client.costs.pull(CostPlan.build(["a", "b"], DAY, DAY)))

        async with serve_app(app) as url:
            yield url


async def get(url: str, headers: dict[str, str] | None = None) -> tuple[int, list[Any]]:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status, [msgspec.json.decode(line) async for line in answer.content]


async def test_a_header_says_how_long_the_caller_waits() -> None:
    """Its request is answered by then, with a 504; a stream with slices that failed."""
    async with serving() as url:
        status, (problem,) = await get(f"{url}/accounts", {"X-Request-Timeout": "0.05"})
        assert (status, problem["error"]) == (504, "DeadlineExceededError")
        status, (*failed, report) = await get(f"{url}/costs", {"X-Request-Timeout": "0.05"})
        assert status == 200
        assert [each["problem"]["status"] for each in failed] == [504, 504]
        assert not report["complete"]


async def test_the_header_and_its_absence_are_the_apps_to_choose() -> None:
    """Another name, and a deadline for whoever says none."""
    async with serving(header="Patience", default_s=0.05) as url:
        assert (await get(f"{url}/accounts"))[0] == 504
        assert (await get(f"{url}/accounts", {"Patience": "0.01"}))[0] == 504


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", ""])
async def test_a_header_that_is_no_time_is_a_problem(given: str) -> None:
    """The caller learns what is allowed; the endpoint is not even begun."""
    async with serving() as url:
        status, (problem,) = await get(f"{url}/accounts", {"X-Request-Timeout": given})
        assert (status, problem["status"]) == (422, 422)
        assert "allowed: seconds above 0" in problem["detail"]


def test_a_default_that_is_no_time_is_refused() -> None:
    """As the app is made."""
    with pytest.raises(ConfigError, match="default_s must be a number of seconds > 0, got 0"):
        RequestDeadline(Starlette(), default_s=0)


async def test_requests_do_not_share_a_deadline() -> None:
    """Each has its own, and what is no request has none."""
    ends: dict[str, float] = {}

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)
        ends[scope["path"]] = hard_end_s(None, lambda: 0.0)

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        pass

    deadline = RequestDeadline(app, default_s=60)

    async def ask(kind: str, path: str, *headers: tuple[bytes, bytes]) -> None:
        await deadline({"type": kind, "path": path, "headers": headers}, receive, send)

    await asyncio.gather(
        ask("http", "short", (b"x-request-timeout", b"5")),
        ask("http", "default"),
        ask("lifespan", "lifespan"),
    )
    assert 0 < ends["short"] <= 5 < ends["default"] <= 60
    assert ends["lifespan"] == float("inf")
