"""A FastAPI app that returns the same bytes with the client's cache and without the client.

`python -m benchmarks.harness.cached_app` prints its port, and serves by uvicorn until standard
input ends.
"""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date

import msgspec
import uvicorn
from fastapi import FastAPI, Response

from spot_billing_async import CostItem, SpotBillingClient
from spot_billing_async.cache import CostCache
from spot_billing_async.emulator import Emulator

ACCOUNT = "011254002932"
MONTH = date(2024, 1, 1), date(2024, 1, 31)


def json_response(items: list[CostItem]) -> Response:
    """Return rows as a JSON response."""
    return Response(msgspec.json.encode(items), media_type="application/json")


def make_app(client: SpotBillingClient, body: bytes) -> FastAPI:
    """Return the app.

    `/cached` calls the client, `/rows` encodes rows in memory, `/bytes` returns encoded bytes.

    Args:
        client: a client with a cache.
        body: the rows as JSON.
    """
    app = FastAPI()
    rows = msgspec.json.decode(body, type=list[CostItem])

    @app.get("/cached")
    async def cached_rows() -> Response:
        return json_response(await client.costs.get(ACCOUNT, *MONTH, "service"))

    @app.get("/rows")
    async def rows_in_memory() -> Response:
        return json_response(rows)

    @app.get("/bytes")
    async def encoded_bytes() -> Response:
        return Response(body, media_type="application/json")

    return app


@asynccontextmanager
async def cached_client() -> AsyncIterator[SpotBillingClient]:
    """Yield a client with a cache, whose server is an emulator."""
    async with (
        Emulator(token="t") as server,  # noqa: S106  the emulator's own
        SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client,
    ):
        yield client
        assert server.requests == 1, "rows were fetched more than once"


async def main() -> None:
    """Print the port, and serve until standard input ends."""
    async with cached_client() as client:
        body = msgspec.json.encode(await client.costs.get(ACCOUNT, *MONTH, "service"))
        config = uvicorn.Config(make_app(client, body), log_level="warning", access_log=False)
        server = uvicorn.Server(config)
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            serving = asyncio.create_task(server.serve([listening]))
            print(listening.getsockname()[1], flush=True)
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = True
            await serving


if __name__ == "__main__":
    asyncio.run(main())
