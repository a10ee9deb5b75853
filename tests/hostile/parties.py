"""The parties of a connection over TLS: an authority, a server, a proxy, and the client."""

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
    """An authority, its certificates as files, and the server's side of TLS."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.client = self.authority.issue_cert("client@example.com")
        self.cert_file, self.key_file = str(folder / "client.pem"), str(folder / "client.key")
        for place, blob in enumerate(self.client.cert_chain_pems):
            blob.write_to_path(self.cert_file, append=place > 0)
        self.client.private_key_pem.write_to_path(self.key_file)

    def server(self, *names: str, asks: bool = False) -> ssl.SSLContext:
        """A server's side: its names, and whether it asks for a certificate of this authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
        if asks:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context


class Heard:
    """The heads that a server, or a proxy, was sent; and the client certificates it was shown."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self.shown: list[object] = []


@asynccontextmanager
async def serving(context: ssl.SSLContext | None) -> AsyncIterator[tuple[int, Heard]]:
    """Answers every request well, over TLS; yields its port."""
    heard = Heard()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            heard.shown.append(writer.get_extra_info("peercert"))
            writer.write(GOOD)
            await writer.drain()

    async with serve_streams(answer, context) as port:
        yield port, heard


@asynccontextmanager
async def proxying(status: str = "200 OK") -> AsyncIterator[tuple[str, Heard]]:
    """A proxy that tunnels; yields its place, `host:port`."""
    heard = Heard()

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
        heard.heads.append(head)
        writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
        if not status.startswith("200") or not head.startswith("CONNECT"):
            return
        host, _, port = head.split()[1].partition(":")
        onward_reader, onward_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))

    async with serve_streams(tunnel) as port:
        yield f"127.0.0.1:{port}", heard


def client_of(port: int, *, host: str = "127.0.0.1", **options: Any) -> SpotBillingClient:
    config = ClientConfig(retry=ONCE, **options)
    return SpotBillingClient(TOKEN, base_url=f"https://{host}:{port}", config=config)
