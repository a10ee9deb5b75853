"""Proxies: which one the client uses, and what the proxy can read."""

import base64
from pathlib import Path

import pytest

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    SpotBillingClient,
    TlsConfig,
    TransportError,
)
from tests.hostile.everything import attempt, capturing
from tests.hostile.parties import PASSWORD, TOKEN, Files, client_of, proxying, serving


async def test_a_proxy_reads_neither_token_nor_costs(files: Files) -> None:
    """A proxy receives one CONNECT with its own credentials, and nothing else in the clear."""
    with capturing() as kept:
        async with (
            serving(files.server()) as (port, received),
            proxying() as (address, proxy_received),
        ):
            tls, proxy = TlsConfig(ca_file=files.ca_file), f"http://u%40x:{PASSWORD}@{address}"
            async with client_of(port, tls=tls, proxy=proxy) as client:
                for _ in range(2):
                    assert await attempt(kept, lambda: client.costs.get("a")) is None
                kept.keep(client, client._shared.config, client._shared)
    assert len(received.heads) == 2
    (head,) = proxy_received.heads
    lines = head.split("\r\n")
    assert lines[0] == f"CONNECT 127.0.0.1:{port} HTTP/1.1"
    basic = base64.b64encode(f"u@x:{PASSWORD}".encode()).decode()
    assert f"Proxy-Authorization: Basic {basic}" in lines
    assert TOKEN not in head
    assert not any("Proxy-Authorization" in inner for inner in received.heads)
    for secret in (TOKEN, PASSWORD, basic):
        kept.assert_without(secret)


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: http://x/", "407 x", "500 x"])
async def test_a_refusal_of_the_proxy_is_an_error(files: Files, status: str) -> None:
    """The error has the proxy's status; nothing is sent, and no redirect of it is followed."""
    with capturing() as kept:
        async with (
            serving(files.server()) as (port, received),
            proxying(status) as (address, _),
            client_of(port, proxy=f"http://u:{PASSWORD}@{address}") as client,
        ):
            error = await attempt(kept, lambda: client.costs.get("a"))
    assert isinstance(error, TransportError)
    assert f"the proxy refuses the tunnel: it answered {status[:3]}" in str(error)
    assert not error.sent
    assert error.permanent == status.startswith("407")
    assert not received.heads
    kept.assert_without(PASSWORD)
    kept.assert_without(TOKEN)


def test_a_proxy_needs_an_https_base_url() -> None:
    """A proxy of plain http is refused even with allow_insecure, as it would read the token."""
    config = ClientConfig(proxy=f"http://u:{PASSWORD}@proxy.example", allow_insecure=True)
    for base_url in ("http://127.0.0.1:9", "http://api.example.com"):
        with pytest.raises(
            ConfigError, match="proxy must be used with an https base_url"
        ) as caught:
            SpotBillingClient(TOKEN, base_url=base_url, config=config)
        assert PASSWORD not in str(caught.value)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Environment without proxies, with a netrc file."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1\nlogin user\npassword {PASSWORD}\n")
    return monkeypatch


@pytest.mark.parametrize("asked", [False, True], ids=["by default", "on request"])
async def test_the_environment_is_used_only_on_request(
    files: Files, environment: pytest.MonkeyPatch, asked: bool
) -> None:
    """With trust_env the proxy and netrc's credentials are used; the API never receives them."""
    tls = TlsConfig(ca_file=files.ca_file)
    with capturing() as kept:
        async with (
            serving(files.server()) as (port, received),
            proxying() as (address, proxy_received),
        ):
            environment.setenv("HTTPS_PROXY", f"http://{address}")
            async with client_of(port, tls=tls, trust_env=asked) as client:
                assert await attempt(kept, lambda: client.costs.get("a")) is None
                kept.keep(client._shared)
    (inner,) = received.heads
    assert f"Authorization: Bearer {TOKEN}" in inner
    assert "Basic" not in inner
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    assert [f"Proxy-Authorization: Basic {basic}" in head for head in proxy_received.heads] == [
        True
    ] * asked
    for secret in (TOKEN, PASSWORD, basic):
        kept.assert_without(secret)


async def test_the_environment_may_exclude_the_server(
    files: Files, environment: pytest.MonkeyPatch
) -> None:
    """`NO_PROXY` is applied, and plain http bypasses the proxy, which would read the token."""
    tls = TlsConfig(ca_file=files.ca_file)
    async with serving(files.server()) as (port, received), proxying() as (address, proxy_received):
        environment.setenv("HTTPS_PROXY", f"http://{address}")
        environment.setenv("HTTP_PROXY", f"http://{address}")
        environment.setenv("NO_PROXY", "127.0.0.1")
        async with client_of(port, tls=tls, trust_env=True) as client:
            await client.costs.get("a")
        environment.setenv("NO_PROXY", "")
        async with serving(None) as (plain_port, plain_received):
            url = f"http://127.0.0.1:{plain_port}"
            config = ClientConfig(trust_env=True)
            async with SpotBillingClient(TOKEN, base_url=url, config=config) as client:
                await client.costs.get("a")
    assert len(received.heads) == len(plain_received.heads) == 1
    assert "Basic" not in plain_received.heads[0]
    assert not proxy_received.heads


@pytest.mark.parametrize(
    "netrc", [f"machine x login {PASSWORD} {PASSWORD}", f'"{PASSWORD}', "\udcff"]
)
async def test_an_error_about_netrc_does_not_show_its_content(
    netrc: str, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Errors about an invalid netrc or proxy variable do not show the password in it."""
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
