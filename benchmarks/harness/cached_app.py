"""A FastAPI app that answers the same bytes with the client's cache and without the client.

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


def answer_of(items: list[CostItem]) -> Response:
    """The rows as JSON."""
    return Response(msgspec.json.encode(items), media_type="application/json")


def app_of(client: SpotBillingClient, ready: bytes) -> FastAPI:
    """The app: `/cached` asks the client, `/rows` writes rows that it has, `/bytes` has bytes."""
    app = FastAPI()
    rows = msgspec.json.decode(ready, type=list[CostItem])

    @app.get("/cached")
    async def cached() -> Response:
        return answer_of(await client.costs.get(ACCOUNT, *MONTH, "service"))

    @app.get("/rows")
    async def written() -> Response:
        return answer_of(rows)

    @app.get("/bytes")
    async def as_it_is() -> Response:
        return Response(ready, media_type="application/json")

    return app


@asynccontextmanager
async def cached_client() -> AsyncIterator[SpotBillingClient]:
    """A client with a cache, and the emulator that it asks."""
    async with (
        Emulator(token="t") as server,  # noqa: S106  the emulator's own
        SpotBillingClient("t", base_url=server.base_url, cache=CostCache()) as client,
    ):
        yield client
        assert server.requests == 1, "it was asked more than once"


async def main() -> None:
    """Serve until standard input ends; print the port."""
    async with cached_client() as client:
        ready = msgspec.json.encode(await client.costs.get(ACCOUNT, *MONTH, "service"))
        config = uvicorn.Config(app_of(client, ready), log_level="warning", access_log=False)
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
