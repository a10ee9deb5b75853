"""Whom the client trusts, and what it shows."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    SpotBillingClient,
    TlsConfig,
    TransportError,
)
from tests.hostile.everything import attempt, capturing
from tests.hostile.parties import PASSWORD, TOKEN, Files, client_of, serving
from tests.support import serve_streams


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
                kept.keep(client, tls, client._shared.config)
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
    with pytest.raises(ConfigError, match=rf"tls\.{field} .*must be .*PEM file.*file\.pem"):
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
    with pytest.raises(ConfigError, match=rf"{next(iter(options))}.* must be "):
        ClientConfig(**options)


@pytest.mark.parametrize(
    "options", [{"ca_file": 7}, {"client_key_file": "x"}, {"client_key_password": "x"}]
)
def test_parts_of_tls_that_are_no_use_are_told(options: dict[str, Any]) -> None:
    """A key without a certificate shows nothing."""
    with pytest.raises(ConfigError, match=r"tls\..* must be "):
        TlsConfig(**options)


@pytest.mark.parametrize(
    "options",
    [{"tls": TlsConfig(ca_file="x")}, {"proxy": "http://127.0.0.1:9"}, {"trust_env": True}],
)
async def test_a_callers_session_has_settings_of_its_own(options: dict[str, Any]) -> None:
    """Those of the config would not be heeded, and are refused beside it."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(
            ConfigError, match="session cannot be combined with tls, proxy or trust_env"
        ):
            SpotBillingClient(TOKEN, session=session, config=ClientConfig(**options))


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
