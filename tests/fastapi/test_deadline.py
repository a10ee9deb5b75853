"""`RequestDeadline`: the deadline of a request applies to the client's calls for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from time import monotonic
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
    """Serve an app whose API responds after ten minutes; yield its URL."""
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
    """Return the status and the JSON lines of a response."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, [msgspec.json.decode(line) async for line in response.content]


async def test_the_header_sets_the_deadline() -> None:
    """At the deadline a call gives a 504, and the slices of a stream fail."""
    async with serving() as url:
        status, (problem,) = await get(f"{url}/accounts", {"X-Request-Timeout": "0.05"})
        assert (status, problem["error"]) == (504, "DeadlineExceededError")
        status, (*failed, report) = await get(f"{url}/costs", {"X-Request-Timeout": "0.05"})
        assert status == 200
        assert [each["problem"]["status"] for each in failed] == [504, 504]
        assert not report["complete"]


async def test_the_app_chooses_header_and_default() -> None:
    """The app can name another header, and set a deadline for requests without it."""
    async with serving(header="X-Deadline", default_s=0.05) as url:
        assert (await get(f"{url}/accounts"))[0] == 504
        assert (await get(f"{url}/accounts", {"X-Deadline": "0.01"}))[0] == 504


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan", "inf", ""])
async def test_an_invalid_header_is_a_problem(value: str) -> None:
    """An invalid header gives a 422 that says what is allowed; the endpoint does not run."""
    async with serving() as url:
        status, (problem,) = await get(f"{url}/accounts", {"X-Request-Timeout": value})
        assert (status, problem["status"]) == (422, 422)
        assert "must be a number of seconds > 0" in problem["detail"]


def test_an_invalid_default_is_an_error() -> None:
    """An invalid default raises when the middleware is created."""
    with pytest.raises(ConfigError, match="default_s must be a number of seconds > 0, got 0"):
        RequestDeadline(Starlette(), default_s=0)


async def test_requests_do_not_share_a_deadline() -> None:
    """Each request has its own deadline; a lifespan has none."""
    ends: dict[str, float] = {}

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(0)
        ends[scope["path"]] = hard_end_s(None) - monotonic()

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        pass

    middleware = RequestDeadline(app, default_s=60)

    async def call(kind: str, path: str, *headers: tuple[bytes, bytes]) -> None:
        await middleware({"type": kind, "path": path, "headers": headers}, receive, send)

    await asyncio.gather(
        call("http", "short", (b"x-request-timeout", b"5")),
        call("http", "default"),
        call("lifespan", "lifespan"),
    )
    assert 0 < ends["short"] <= 5 < ends["default"] <= 60
    assert ends["lifespan"] == float("inf")
