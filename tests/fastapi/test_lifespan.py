"""`spot_billing_lifespan`, `SpotBilling` and `client_of`, in FastAPI and in Starlette."""

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
    """Return the JSON of a response."""
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return await response.json()


async def test_fastapi_endpoints_receive_the_client_of_the_app(arguments: ClientArguments) -> None:
    """All requests share one client, which is closed with the app and new at each start."""
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


async def test_a_websocket_receives_the_client(arguments: ClientArguments) -> None:
    """A WebSocket endpoint receives the client by the same annotation."""
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


async def test_starlette_endpoints_use_client_of(arguments: ClientArguments) -> None:
    """`client_of(request)` returns the client, also in a mounted app."""

    async def accounts(request: Request) -> JSONResponse:
        return JSONResponse(len(await client_of(request).accounts.list()))

    mounted = Starlette(routes=[Route("/accounts", accounts)])
    app = Starlette(
        routes=[Route("/accounts", accounts), Mount("/mounted", mounted)],
        lifespan=spot_billing_lifespan(**arguments),
    )
    async with serve_app(app) as url:
        assert [await get(f"{url}{path}/accounts") for path in ("", "/mounted")] == [24, 24]


async def test_the_apps_own_lifespan_runs_inside(arguments: ClientArguments) -> None:
    """The app's own lifespan may use the client from start to end, and its state is kept."""
    accounts: list[int] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        accounts.append(len(await client_of(app).accounts.list()))
        yield {"name": "kept"}
        accounts.append(len(await client_of(app).accounts.list()))

    app = FastAPI(lifespan=spot_billing_lifespan(own, **arguments))

    @app.get("/name")
    async def name(request: Request) -> str:
        return str(request.state.name)

    async with serve_app(app) as url:
        assert (await get(f"{url}/name"), accounts) == ("kept", [24])
    assert accounts == [24, 24]


async def test_a_lifespan_may_yield_no_state(arguments: ClientArguments) -> None:
    """A lifespan that yields nothing works; after it, the app has no client."""

    @asynccontextmanager
    async def own(_: FastAPI) -> AsyncIterator[None]:
        yield

    lifespan = spot_billing_lifespan(own, **arguments)
    app = FastAPI(lifespan=lifespan)
    async with lifespan(app) as state:
        assert list(state.values()) == [client_of(app)]
    with pytest.raises(ConfigError, match="the app has no open client"):
        client_of(app)


async def test_a_missing_token_keeps_the_app_from_starting() -> None:
    """A missing token is reported when the app starts, not by the first request."""
    app = FastAPI(lifespan=spot_billing_lifespan())
    with pytest.raises(ConfigError, match="token must be given"):
        async with app.router.lifespan_context(app):
            pass


async def test_without_the_lifespan_the_error_says_so() -> None:
    """Without the lifespan, the error shows the argument to add."""
    app = FastAPI()
    with pytest.raises(ConfigError, match=r"lifespan=spot_billing_lifespan\(\)"):
        client_of(app)


async def test_no_traceback_of_a_lifespan_shows_the_token() -> None:
    """No traceback holds the token, if the client is refused or the app's own lifespan fails."""

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


def test_a_token_passed_as_lifespan_is_not_shown() -> None:
    """A token in place of a lifespan gives an error that does not show the token."""
    with pytest.raises(ConfigError, match="token=") as caught:
        spot_billing_lifespan(TOKEN)  # type: ignore[arg-type]  # what is tested
    assert TOKEN not in str(caught.value)
    assert TOKEN not in repr(caught.traceback[-1].frame.f_locals)
