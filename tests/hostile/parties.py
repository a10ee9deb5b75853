"""Parties of a TLS connection: an authority, a server, a proxy, and the client."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient
from tests.support import http, serve_streams

TOKEN = "51c09be7f2-not-a-real-token"
PASSWORD = "c70e44d1-not-a-real-password"
ONCE = RetryPolicy(max_attempts=1)
GOOD = http(b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}')


class Files:
    """Certificate authority, its certificates as files, and TLS contexts for servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.client = self.authority.issue_cert("client@example.com")
        self.cert_file, self.key_file = str(folder / "client.pem"), str(folder / "client.key")
        for index, blob in enumerate(self.client.cert_chain_pems):
            blob.write_to_path(self.cert_file, append=index > 0)
        self.client.private_key_pem.write_to_path(self.key_file)

    def server(self, *names: str, requires_certificate: bool = False) -> ssl.SSLContext:
        """Return a server's context for these names; optionally, require a client certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
        if requires_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


class Received:
    """Request heads that a server or proxy received, and the client certificates with them."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.certificates: list[object] = []


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[tuple[int, Received]]:
    """Serve a good response to every request, over TLS; yield the port."""
    received = Received()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            received.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            received.certificates.append(writer.get_extra_info("peercert"))
            writer.write(GOOD)
            await writer.drain()

    async with serve_streams(answer, context) as port:
        yield port, received


@asynccontextmanager
async def proxying(status: str = "200 OK") -> AsyncIterator[tuple[str, Received]]:
    """Run a proxy that tunnels; yield its address, `host:port`."""
    received = Received()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        received.heads.append(head)
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200") or not head.startswith("CONNECT"):
            return
        host, _, port = head.split()[1].partition(":")
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    async with serve_streams(tunnel) as port:
        yield f"127.0.0.1:{port}", received


def client_of(port: int, *, host: str = "127.0.0.1", **options: Any) -> SpotBillingClient:
    """Return a client of a server on this port, without retries."""
    config = ClientConfig(retry=ONCE, **options)
    return SpotBillingClient(TOKEN, base_url=f"https://{host}:{port}", config=config)
