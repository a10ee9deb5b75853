"""Whom the client trusts, what it shows, and through which proxy it goes."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    RetryPolicy,
    SpotBillingClient,
    TlsConfig,
    TransportError,
)
from tests.hostile.everything import attempt, capturing
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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


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


async def test_a_server_that_nobody_vouches_for_is_refused(files: Files) -> None:
    """By default the system's authorities are asked; the token is not sent."""
    async with serving(files.server()) as (port, heard), client_of(port) as client:
        with pytest.raises(TransportError, match="certificate verify failed") as caught:
            await client.costs.get("a")
    assert not caught.value.sent
    assert not heard.heads


async def test_a_certificate_for_another_name_is_refused(files: Files) -> None:
    """The authority is trusted, but the name is not the host's."""
    tls = TlsConfig(ca_file=files.ca_file)
    async with (
        serving(files.server("other.example")) as (port, heard),
        client_of(port, tls=tls) as client,
    ):
        with pytest.raises(TransportError, match="certificate verify failed"):
            await client.costs.get("a")
    assert not heard.heads


@pytest.mark.parametrize("ready", [False, True], ids=["files", "a ready context"])
async def test_an_authority_of_ones_own_is_trusted(files: Files, ready: bool) -> None:
    """By a file, or in a context that the caller made."""
    context = ssl.create_default_context(cafile=files.ca_file)
    tls = context if ready else TlsConfig(ca_file=Path(files.ca_file))
    async with serving(files.server()) as (port, heard), client_of(port, tls=tls) as client:
        for _ in range(2):
            assert len(await client.costs.get("a")) == 1
    assert [f"Authorization: Bearer {TOKEN}" in head for head in heard.heads] == [True, True]


async def test_a_client_certificate_is_shown_where_it_is_asked_for(files: Files) -> None:
    """With its key in a file beside it or in the same one; without one the server refuses."""
    both = files.folder / "both.pem"
    files.client.private_key_and_cert_chain_pem.write_to_path(str(both))
    async with serving(files.server(asks=True)) as (port, heard):
        for tls in (
            TlsConfig(
                ca_file=files.ca_file,
                client_cert_file=files.cert_file,
                client_key_file=files.key_file,
            ),
            TlsConfig(ca_file=files.ca_file, client_cert_file=both),
        ):
            async with client_of(port, tls=tls) as client:
                assert len(await client.costs.get("a")) == 1
        assert all(heard.shown)
        async with client_of(port, tls=TlsConfig(ca_file=files.ca_file)) as client:
            with pytest.raises(TransportError):
                await client.costs.get("a")
    assert len(heard.heads) == 2


async def test_a_key_may_have_a_password(files: Files) -> None:
    """It is shown nowhere; a wrong or a missing one is an error, and no question on a terminal."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  comes with trustme

    key = serialization.load_pem_private_key(files.client.private_key_pem.bytes(), None)
    path = files.folder / "locked.key"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
    )
    options = {"client_cert_file": files.cert_file, "client_key_file": path}
    with capturing() as kept:
        async with serving(files.server(asks=True)) as (port, heard):
            tls = TlsConfig(ca_file=files.ca_file, client_key_password=PASSWORD, **options)  # type: ignore[arg-type]  # by name
            async with client_of(port, tls=tls) as client:
                await attempt(kept, lambda: client.costs.get("a"))
                kept.keep(client, tls, client._session.config)
            for wrong in (None, "", PASSWORD[::-1]):
                tls = TlsConfig(client_key_password=wrong, **options)  # type: ignore[arg-type]  # by name
                error = await attempt(kept, client_of(port, tls=tls).__aenter__)
                assert isinstance(error, ConfigError)
                assert "tls.client_cert_file" in str(error)
    assert len(heard.heads) == 1
    kept.assert_without(PASSWORD)
    kept.assert_without(TOKEN)


@pytest.mark.parametrize("field", ["ca_file", "client_cert_file"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", b"\xff\0"])
async def test_a_file_that_is_no_use_is_told_by_its_field(
    field: str, content: bytes | None, tmp_path: Path
) -> None:
    """As the client is entered, and before anything is sent."""
    path = tmp_path / "file.pem"
    if content is not None:
        path.write_bytes(content)
    tls = TlsConfig(**{field: path})  # type: ignore[arg-type]  # by name, checked there
    client = client_of(9, tls=tls)
    with pytest.raises(ConfigError, match=rf"tls\.{field}: .*file\.pem.*allowed: "):
        await client.__aenter__()
    with pytest.raises(ConfigError, match="inside 'async with'"):
        await client.costs.get("a")


def unverified(**changes: Any) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    for name, value in changes.items():
        setattr(context, name, value)
    return context


@pytest.mark.parametrize(
    "options",
    [
        {"tls": None},
        {"tls": False},
        {"tls": unverified()},
        {"tls": unverified(verify_mode=ssl.CERT_NONE)},
        {"proxy": "proxy.example:3128"},
        {"proxy": "https://proxy.example"},
        {"proxy": "socks5://proxy.example"},
        {"proxy": "http://"},
        {"proxy": "http://proxy.example:x"},
        {"proxy": "http://proxy.example/path"},
        {"proxy": "http://proxy.example\r\nX: y"},
        {"proxy": 7},
        {"trust_env": "yes"},
        {"connect_timeout_s": 0},
    ],
)
def test_settings_that_are_no_use_are_told(options: dict[str, Any]) -> None:
    """Verification cannot be switched off; the error names the field and what is allowed."""
    with pytest.raises(ConfigError, match=rf"{next(iter(options))}.*allowed: "):
        ClientConfig(**options)


@pytest.mark.parametrize(
    "options", [{"ca_file": 7}, {"client_key_file": "x"}, {"client_key_password": "x"}]
)
def test_parts_of_tls_that_are_no_use_are_told(options: dict[str, Any]) -> None:
    """A key without a certificate shows nothing."""
    with pytest.raises(ConfigError, match=r"tls\..*allowed: "):
        TlsConfig(**options)


@pytest.mark.parametrize(
    "options",
    [{"tls": TlsConfig(ca_file="x")}, {"proxy": "http://127.0.0.1:9"}, {"trust_env": True}],
)
async def test_a_callers_session_has_settings_of_its_own(options: dict[str, Any]) -> None:
    """Those of the config would not be heeded, and are refused beside it."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ConfigError, match="session of your own does not heed"):
            SpotBillingClient(TOKEN, session=session, config=ClientConfig(**options))


async def test_a_proxy_is_shown_neither_token_nor_costs(files: Files) -> None:
    """It is asked for a tunnel, with its own credentials, and for nothing else."""
    with capturing() as kept:
        async with serving(files.server()) as (port, heard), proxying() as (place, proxied):
            tls, proxy = TlsConfig(ca_file=files.ca_file), f"http://u%40x:{PASSWORD}@{place}"
            async with client_of(port, tls=tls, proxy=proxy) as client:
                for _ in range(2):
                    assert await attempt(kept, lambda: client.costs.get("a")) is None
                kept.keep(client, client._session.config, client._connections)
    assert len(heard.heads) == 2
    (head,) = proxied.heads
    lines = head.split("\r\n")
    assert lines[0] == f"CONNECT 127.0.0.1:{port} HTTP/1.1"
    basic = base64.b64encode(f"u@x:{PASSWORD}".encode()).decode()
    assert f"Proxy-Authorization: Basic {basic}" in lines
    assert TOKEN not in head
    assert not any("Proxy-Authorization" in inner for inner in heard.heads)
    for secret in (TOKEN, PASSWORD, basic):
        kept.assert_without(secret)


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: http://x/", "407 x", "500 x"])
async def test_a_proxy_that_refuses_is_told(files: Files, status: str) -> None:
    """With its status; nothing was sent to anybody, and no redirect of a proxy's is followed."""
    with capturing() as kept:
        async with (
            serving(files.server()) as (port, heard),
            proxying(status) as (place, _),
            client_of(port, proxy=f"http://u:{PASSWORD}@{place}") as client,
        ):
            error = await attempt(kept, lambda: client.costs.get("a"))
    assert isinstance(error, TransportError)
    assert f"the proxy refuses the tunnel: it answered {status[:3]}" in str(error)
    assert not error.sent
    assert not heard.heads
    kept.assert_without(PASSWORD)
    kept.assert_without(TOKEN)


def test_a_proxy_is_not_shown_what_goes_in_the_clear() -> None:
    """Over plain http it would read the token, whatever else is allowed."""
    config = ClientConfig(proxy=f"http://u:{PASSWORD}@proxy.example", allow_insecure=True)
    for base_url in ("http://127.0.0.1:9", "http://api.example.com"):
        with pytest.raises(ConfigError, match="allowed: a proxy with an https base_url") as caught:
            SpotBillingClient(TOKEN, base_url=base_url, config=config)
        assert PASSWORD not in str(caught.value)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1\nlogin user\npassword {PASSWORD}\n")
    return monkeypatch


@pytest.mark.parametrize("asked", [False, True], ids=["by default", "on request"])
async def test_the_environment_is_heeded_on_request_alone(
    files: Files, environment: pytest.MonkeyPatch, asked: bool
) -> None:
    """Its proxy, with netrc's credentials for it; the API itself is never sent any of those."""
    tls = TlsConfig(ca_file=files.ca_file)
    with capturing() as kept:
        async with serving(files.server()) as (port, heard), proxying() as (place, proxied):
            environment.setenv("HTTPS_PROXY", f"http://{place}")
            async with client_of(port, tls=tls, trust_env=asked) as client:
                assert await attempt(kept, lambda: client.costs.get("a")) is None
                kept.keep(client._connections)
    (inner,) = heard.heads
    assert f"Authorization: Bearer {TOKEN}" in inner
    assert "Basic" not in inner
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert [f"Proxy-Authorization: Basic {basic}" in head for head in proxied.heads] == [
        True
    ] * asked
    for secret in (TOKEN, PASSWORD, basic):
        kept.assert_without(secret)


async def test_the_environment_may_exclude_the_server(
    files: Files, environment: pytest.MonkeyPatch
) -> None:
    """`NO_PROXY` is heeded, and plain http goes straight: a proxy would read the token."""
    tls = TlsConfig(ca_file=files.ca_file)
    async with serving(files.server()) as (port, heard), proxying() as (place, proxied):
        environment.setenv("HTTPS_PROXY", f"http://{place}")
        environment.setenv("HTTP_PROXY", f"http://{place}")
        environment.setenv("NO_PROXY", "127.0.0.1")
        async with client_of(port, tls=tls, trust_env=True) as client:
            await client.costs.get("a")
        environment.setenv("NO_PROXY", "")
        async with serving(None) as (plain_port, plainly):
            url = f"http://127.0.0.1:{plain_port}"
            config = ClientConfig(trust_env=True)
            async with SpotBillingClient(TOKEN, base_url=url, config=config) as client:
                await client.costs.get("a")
    assert len(heard.heads) == len(plainly.heads) == 1
    assert "Basic" not in plainly.heads[0]
    assert not proxied.heads


@pytest.mark.parametrize(
    "netrc", [f"machine x login {PASSWORD} {PASSWORD}", f'"{PASSWORD}', "\udcff"]
)
async def test_a_netrc_that_is_no_use_is_told_without_its_content(
    netrc: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So is a proxy of the environment's that is none."""
    (tmp_path / "netrc").write_bytes(netrc.encode("utf-8", "surrogateescape"))
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with capturing() as kept:
        error = await attempt(kept, client_of(9, trust_env=True).__aenter__)
        assert isinstance(error, ConfigError)
        assert "netrc" in str(error)
        environment.setenv("HTTPS_PROXY", f"socks5://u:{PASSWORD}@127.0.0.1:9")
        error = await attempt(kept, client_of(9, trust_env=True).__aenter__)
        assert isinstance(error, ConfigError)
        assert "HTTPS_PROXY" in str(error)
    kept.assert_without(PASSWORD)


async def test_a_server_that_never_answers_the_handshake_is_given_up() -> None:
    """Long before the call's deadline, and as a request that was certainly not sent."""

    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        serve_streams(mute) as port,
        client_of(port, connect_timeout_s=0.1, deadline_s=600) as client,
    ):
        with pytest.raises(TransportError, match="longer than connect_timeout_s") as caught:
            await client.costs.get("a")
    assert not caught.value.sent
