"""Kept connections: reused while they are clean, and closed when anything arrived while idle."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot_billing_async import ClientConfig, ConfigError, SpotBillingClient, TenantClient, TlsConfig
from tests.hostile.parties import Files
from tests.support import serve_streams

DAY = date(2025, 1, 1)
Send = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


def response_for(head: bytes) -> bytes:
    """Return the response to a request: one row of the account that it names."""
    found = re.search(rb"accountId=(\w+)", head)
    assert found is not None
    items = [{"accountId": found[1].decode(), "cost": 1, "currency": "USD"}]
    body = json.dumps({"response": {"items": items, "count": 1}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Api:
    """Server of one row per account.

    Attributes:
        connections: connections accepted so far.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.connections = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        while True:
            await self._send(writer, response_for(await reader.readuntil(b"\r\n\r\n")))


async def once(writer: asyncio.StreamWriter, response: bytes) -> None:
    """Send a response."""
    writer.write(response)
    await writer.drain()


async def twice(writer: asyncio.StreamWriter, response: bytes) -> None:
    """Send a response, and the same one again when the client has read the first."""
    await once(writer, response)
    await asyncio.sleep(0.005)
    await once(writer, response)


async def with_a_byte(writer: asyncio.StreamWriter, response: bytes) -> None:
    """Send a response, and the first byte of another one later."""
    await once(writer, response)
    await asyncio.sleep(0.005)
    await once(writer, b"H")


async def then_close(writer: asyncio.StreamWriter, response: bytes) -> None:
    """Send a response, and close the connection later."""
    await once(writer, response)
    await asyncio.sleep(0.005)
    writer.close()


@asynccontextmanager
async def client_of(api: Api, **options: bool) -> AsyncIterator[SpotBillingClient]:
    """Serve an API and open a client of it."""
    config = ClientConfig(**options)  # type: ignore[arg-type]  # by name
    async with (
        serve_streams(api.handle) as port,
        SpotBillingClient("t", base_url=f"http://127.0.0.1:{port}", config=config) as client,
    ):
        yield client


async def accounts_of(client: TenantClient, account_id: str) -> list[str | None]:
    """Return the accounts in the rows of a query."""
    return [item.account_id for item in await client.costs.get(account_id, DAY, DAY)]


@pytest.mark.parametrize("send", [twice, then_close])
async def test_a_connection_with_an_unrequested_message_is_not_reused(send: Send) -> None:
    """A message, or the end of file, on an idle connection closes it; the next one is new."""
    api = Api(send)
    async with client_of(api) as client:
        for account_id in ("a1", "a2", "a3"):
            assert await accounts_of(client, account_id) == [account_id]
            await asyncio.sleep(0.02)
    assert api.connections == 3


async def test_bytes_that_the_loop_has_not_read_count() -> None:
    """Bytes in the kernel are seen even if the host's code blocked the loop while they arrived."""
    api, ports, ready, stop = Api(twice), [0], threading.Event(), threading.Event()

    async def serve_until_stopped() -> None:
        async with serve_streams(api.handle) as ports[0]:
            ready.set()
            await asyncio.to_thread(stop.wait)

    server = threading.Thread(target=asyncio.run, args=[serve_until_stopped()])
    server.start()
    await asyncio.to_thread(ready.wait)
    try:
        async with SpotBillingClient("t", base_url=f"http://127.0.0.1:{ports[0]}") as client:
            for account_id in ("a1", "a2", "a3"):
                assert await accounts_of(client, account_id) == [account_id]
                time.sleep(0.05)  # noqa: ASYNC251  blocks the loop on purpose
    finally:
        stop.set()
        await asyncio.to_thread(server.join)
    assert api.connections == 3


async def test_another_tenants_rows_never_arrive() -> None:
    """Two tenants over one pool receive their own rows, although the server repeats responses."""
    async with client_of(Api(twice)) as client:
        tenants = [client, client.with_token("u")]
        for number in range(6):
            tenant = tenants[number % 2]
            assert await accounts_of(tenant, f"a{number}") == [f"a{number}"]
            await asyncio.sleep(0.02)


async def test_clean_connections_are_reused() -> None:
    """A hundred calls over a clean server use one connection."""
    api = Api(once)
    async with client_of(api) as client:
        for number in range(100):
            await accounts_of(client, f"a{number}")
    assert api.connections == 1


async def test_clean_tls_connections_are_reused(tmp_path: Path) -> None:
    """Session tickets of TLS 1.3 do not count as unrequested bytes."""
    files, api = Files(tmp_path), Api(once)
    async with serve_streams(api.handle, files.server("localhost")) as port:
        config = ClientConfig(tls=TlsConfig(ca_file=files.ca_file))
        base_url = f"https://localhost:{port}"
        async with SpotBillingClient("t", base_url=base_url, config=config) as client:
            for number in range(100):
                await accounts_of(client, f"a{number}")
    assert api.connections == 1


async def test_reuse_can_be_switched_off() -> None:
    """With `reuse_connections=False` each request has a connection of its own."""
    api = Api(once)
    async with client_of(api, reuse_connections=False) as client:
        for number in range(5):
            await accounts_of(client, f"a{number}")
    assert api.connections == 5


def test_reuse_is_a_flag() -> None:
    """Another value than True or False is refused by name."""
    with pytest.raises(ConfigError, match="reuse_connections must be True or False, got 1"):
        ClientConfig(reuse_connections=1)  # type: ignore[arg-type]  # what is tested


@given(st.lists(st.sampled_from([once, twice, with_a_byte, then_close]), min_size=2, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_arrives_between_calls_no_row_is_wrong(sends: list[Send]) -> None:
    """No sequence of repeated, partial and closing responses between calls gives a wrong row."""

    async def run() -> None:
        order = iter(sends)

        async def send(writer: asyncio.StreamWriter, response: bytes) -> None:
            await next(order)(writer, response)

        async with client_of(Api(send)) as client:
            for number in range(len(sends)):
                assert await accounts_of(client, f"a{number}") == [f"a{number}"]
                await asyncio.sleep(0.01)

    asyncio.run(run())
