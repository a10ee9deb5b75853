"""TLS: trusted authorities, client certificates, and invalid settings."""

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


async def test_a_server_of_an_unknown_authority_is_refused(files: Files) -> None:
    """By default the system's authorities are trusted; the token is not sent to others."""
    async with serving(files.server()) as (port, received), client_of(port) as client:
        with pytest.raises(TransportError, match="certificate verify failed") as caught:
            await client.costs.get("a")
    assert not caught.value.sent
    assert not received.heads


async def test_a_certificate_for_another_name_is_refused(files: Files) -> None:
    """A certificate of a trusted authority for another host is refused."""
    tls = TlsConfig(ca_file=files.ca_file)
    async with (
        serving(files.server("other.example")) as (port, received),
        client_of(port, tls=tls) as client,
    ):
        with pytest.raises(TransportError, match="certificate verify failed"):
            await client.costs.get("a")
    assert not received.heads


@pytest.mark.parametrize("ready", [False, True], ids=["files", "a ready context"])
async def test_a_configured_authority_is_trusted(files: Files, ready: bool) -> None:
    """An authority may be configured as a file, or in a context of the caller."""
    context = ssl.create_default_context(cafile=files.ca_file)
    tls = context if ready else TlsConfig(ca_file=Path(files.ca_file))
    async with serving(files.server()) as (port, received), client_of(port, tls=tls) as client:
        for _ in range(2):
            assert len(await client.costs.get("a")) == 1
    assert [f"Authorization: Bearer {TOKEN}" in head for head in received.heads] == [True, True]


async def test_a_client_certificate_is_sent_on_request(files: Files) -> None:
    """The key may be in its own file or in the same one; without one the server refuses."""
    both = files.folder / "both.pem"
    files.client.private_key_and_cert_chain_pem.write_to_path(str(both))
    async with serving(files.server(requires_certificate=True)) as (port, received):
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
        assert all(received.certificates)
        async with client_of(port, tls=TlsConfig(ca_file=files.ca_file)) as client:
            with pytest.raises(TransportError):
                await client.costs.get("a")
    assert len(received.heads) == 2


async def test_a_key_may_have_a_password(files: Files) -> None:
    """The password is never shown; a wrong or missing one is an error, not a prompt."""
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
        async with serving(files.server(requires_certificate=True)) as (port, received):
            tls = TlsConfig(ca_file=files.ca_file, client_key_password=PASSWORD, **options)  # type: ignore[arg-type]  # by name
            async with client_of(port, tls=tls) as client:
                await attempt(kept, lambda: client.costs.get("a"))
                kept.keep(client, tls, client._shared.config)
            for wrong in (None, "", PASSWORD[::-1]):
                tls = TlsConfig(client_key_password=wrong, **options)  # type: ignore[arg-type]  # by name
                error = await attempt(kept, client_of(port, tls=tls).__aenter__)
                assert isinstance(error, ConfigError)
                assert "tls.client_cert_file" in str(error)
    assert len(received.heads) == 1
    kept.assert_without(PASSWORD)
    kept.assert_without(TOKEN)


@pytest.mark.parametrize("field", ["ca_file", "client_cert_file"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", b"\xff\0"])
async def test_an_error_about_a_file_names_its_field(
    field: str, content: bytes | None, tmp_path: Path
) -> None:
    """An invalid file is an error as the client is entered, before anything is sent."""
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
def test_invalid_settings_are_refused(options: dict[str, Any]) -> None:
    """Verification cannot be switched off; the error names the field and what is allowed."""
    with pytest.raises(ConfigError, match=rf"{next(iter(options))}.* must be "):
        ClientConfig(**options)


@pytest.mark.parametrize(
    "options", [{"ca_file": 7}, {"client_key_file": "x"}, {"client_key_password": "x"}]
)
def test_invalid_tls_settings_are_refused(options: dict[str, Any]) -> None:
    """A key or password without a certificate is refused."""
    with pytest.raises(ConfigError, match=r"tls\..* must be "):
        TlsConfig(**options)


@pytest.mark.parametrize(
    "options",
    [{"tls": TlsConfig(ca_file="x")}, {"proxy": "http://127.0.0.1:9"}, {"trust_env": True}],
)
async def test_tls_settings_are_refused_beside_a_callers_session(options: dict[str, Any]) -> None:
    """A caller's session would ignore the config's TLS and proxy settings, so they are refused."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(
            ConfigError, match="session cannot be combined with tls, proxy, trust_env, reuse_connec"
        ):
            SpotBillingClient(TOKEN, session=session, config=ClientConfig(**options))


async def test_a_handshake_without_response_times_out() -> None:
    """A handshake ends at connect_timeout_s, as a request that was certainly not sent."""

    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with (
        serve_streams(mute) as port,
        client_of(port, connect_timeout_s=0.1, deadline_s=600) as client,
    ):
        with pytest.raises(TransportError, match="longer than connect_timeout_s") as caught:
            await client.costs.get("a")
    assert not caught.value.sent
