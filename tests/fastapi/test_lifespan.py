"""One client for the app, in FastAPI and in Starlette."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from spot_billing_async import ConfigError, SpotBillingClient
from spot_billing_async.fastapi import SpotBilling, client_of, spot_billing_lifespan
from spot_billing_async.testing import ClientArguments
from tests.fastapi.conftest import TOKEN
from tests.hostile.everything import capturing
from tests.support import serve_app


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.json()


async def test_endpoints_of_fastapi_are_given_the_apps_client(arguments: ClientArguments) -> None:
    """It is the same in each request; it is closed when the app ends, and made anew at a start."""
    clients: list[SpotBillingClient] = []
    app = FastAPI(lifespan=spot_billing_lifespan(**arguments))

    @app.get("/accounts")
    async def accounts(client: SpotBilling) -> int:
        clients.append(client)
        return len(await client.accounts.list())

    for starts in (1, 2):
        async with serve_app(app) as url:
            assert await asyncio.gather(*(get(f"{url}/accounts") for _ in range(3))) == [24] * 3
        assert len(set(map(id, clients))) == starts
        with pytest.raises(ConfigError, match="not open"):
            await clients[-1].accounts.list()


async def test_a_websocket_is_given_it_too(arguments: ClientArguments) -> None:
    """By the same annotation."""
    app = FastAPI(lifespan=spot_billing_lifespan(**arguments))

    @app.websocket("/live")
    async def live(socket: WebSocket, client: SpotBilling) -> None:
        await socket.accept()
        await socket.send_text(str(len(await client.accounts.list())))

    sent: list[Any] = []
    async with app.router.lifespan_context(app) as state:
        scope = {"type": "websocket", "path": "/live", "headers": [], "query_string": b""}

        async def receive() -> dict[str, str]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await app({**scope, "state": dict(state or {})}, receive, send)
    assert [message.get("text") for message in sent[:2]] == [None, "24"]


async def test_starlette_has_it_by_request(arguments: ClientArguments) -> None:
    """Also in an app that is mounted in the one that has the lifespan."""

    async def accounts(request: Request) -> JSONResponse:
        return JSONResponse(len(await client_of(request).accounts.list()))

    deadline = Starlette(routes=[Route("/accounts", accounts)])
    app = Starlette(
        routes=[Route("/accounts", accounts), Mount("/within", deadline)],
        lifespan=spot_billing_lifespan(**arguments),
    )
    async with serve_app(app) as url:
        assert [await get(f"{url}{path}/accounts") for path in ("", "/within")] == [24, 24]


async def test_the_apps_own_lifespan_runs_inside(arguments: ClientArguments) -> None:
    """It may use the client from its start to its end, and its state is kept."""
    met: list[int] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        met.append(len(await client_of(app).accounts.list()))
        yield {"name": "kept"}
        met.append(len(await client_of(app).accounts.list()))

    app = FastAPI(lifespan=spot_billing_lifespan(own, **arguments))

    @app.get("/name")
    async def name(request: Request) -> str:
        return str(request.state.name)

    async with serve_app(app) as url:
        assert (await get(f"{url}/name"), met) == ("kept", [24])
    assert met == [24, 24]


async def test_a_lifespan_without_state_is_fine(arguments: ClientArguments) -> None:
    """Most yield nothing."""

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[None]:
        yield

    lifespan = spot_billing_lifespan(own, **arguments)
    app = FastAPI(lifespan=lifespan)
    async with lifespan(app) as state:
        assert list(state.values()) == [client_of(app)]
    with pytest.raises(ConfigError, match="the app has none"):
        client_of(app)


async def test_a_missing_token_keeps_the_app_from_starting() -> None:
    """The error names it; it is met at the start, not by the first request."""
    app = FastAPI(lifespan=spot_billing_lifespan())
    with pytest.raises(ConfigError, match="token: none found"):
        async with app.router.lifespan_context(app):
            pass


async def test_without_the_lifespan_the_error_says_so() -> None:
    """Whoever forgets it is told what to write."""
    app = FastAPI()
    with pytest.raises(ConfigError, match=r"lifespan=spot_billing_lifespan\(\)"):
        client_of(app)


async def test_no_traceback_of_a_lifespan_shows_the_token() -> None:
    """Neither where the client is refused, nor where the app's own lifespan fails inside."""

    @asynccontextmanager
    async def fails(_: FastAPI) -> AsyncIterator[None]:
        raise LookupError
        yield

    refused = spot_billing_lifespan(token=TOKEN, base_url="http://example.com")
    failing = spot_billing_lifespan(fails, token=TOKEN, base_url="http://127.0.0.1:1")
    with capturing() as kept:
        for lifespan in (refused, failing):
            kept.keep(lifespan)
            try:
                async with lifespan(FastAPI()):
                    pass
            except (ConfigError, LookupError) as error:
                kept.keep_error(error)
    assert len(kept.errors) == 2
    assert not [text for text in kept.texts if TOKEN in text]


def test_a_token_in_the_place_of_a_lifespan_is_refused_unseen() -> None:
    """The client's own first argument is its token: the error says where it goes, and not what."""
    with pytest.raises(ConfigError, match="token=") as caught:
        spot_billing_lifespan(TOKEN)  # type: ignore[arg-type]  # what is tested
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.traceback[-1].frame.f_locals)
