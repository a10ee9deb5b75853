"""Reading of certificates and proxies, without a connection."""

import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from spot_billing_async import ConfigError, TlsConfig
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.tls import Network, load_network

API = "https://api.example"


def load(tls: Any = TlsConfig(), proxy: Any = None, **options: Any) -> Network:  # noqa: B008  frozen
    return load_network(tls, proxy, API, **{"trust_env": False, **options})


def test_by_default_nothing_is_read() -> None:
    """Without settings, the connection is direct and verified by the system's authorities."""
    assert load() == Network(None, None)


def test_a_missing_file_is_an_error_that_gives_the_systems_reason(tmp_path: Path) -> None:
    """The error for a file has its name and the reason, in the words of the system or OpenSSL."""
    with pytest.raises(ConfigError, match=r"absent\.pem': No such file or directory$"):
        load(TlsConfig(ca_file=tmp_path / "absent.pem"))
    empty = tmp_path / "empty.pem"
    empty.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"empty\.pem': \S"):
        load(TlsConfig(ca_file=empty))
    files = TlsConfig(client_cert_file=empty, client_key_file=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match=r"empty\.pem' and '.*key\.pem': \S") as caught:
        load(files)
    assert not str(caught.value).endswith("None")


@pytest.mark.parametrize(
    "options", [{"client_key_file": "key.pem"}, {"client_key_password": "invented"}]
)
def test_a_key_needs_its_certificate(options: dict[str, str]) -> None:
    """A key or a password is refused without the certificate that it belongs to."""
    with pytest.raises(ConfigError, match=r"tls\.client_cert_file must be a path"):
        TlsConfig(**options)
    tls = TlsConfig(client_cert_file="cert.pem", **options)
    assert tls.client_cert_file == "cert.pem"


def test_a_context_of_the_caller_is_used_as_it_is() -> None:
    """A context of the caller's own is not changed."""
    context = ssl.create_default_context()
    assert load(context).context is context


def test_a_proxy_of_the_caller_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The environment's proxy is used only on request, for https, and without another proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://env.example:1")
    monkeypatch.setenv("NO_PROXY", "localhost")
    own = load(proxy="http://own.example:2", trust_env=True)
    assert own == Network(None, "http://own.example:2")
    assert load(trust_env=True) == Network(None, "http://env.example:1")
    assert load() == Network()
    assert load_network(TlsConfig(), None, "http://api.example", trust_env=True) == Network()


@pytest.mark.parametrize(
    ("netrc", "login"),
    [
        ("machine env.example login a/b password c:d", b"a/b:c:d"),
        ("machine other.example login a password b", None),
    ],
)
def test_netrc_has_the_proxys_credentials(
    netrc: str, login: bytes | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Credentials of netrc are sent to the proxy, unless its URL has some of its own."""
    path = tmp_path / "netrc"
    path.write_text(netrc)
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    monkeypatch.setenv("NO_PROXY", "localhost")
    monkeypatch.setenv("HTTPS_PROXY", "http://env.example:1")
    assert load(trust_env=True) == Network(None, "http://env.example:1", basic(login))
    monkeypatch.setenv("HTTPS_PROXY", "http://x:y%3A@env.example:1")
    own = load(trust_env=True)
    assert own == Network(None, "http://env.example:1", basic(b"x:y:"))
    assert repr(own.proxy_login) == "Secret(***)"
    monkeypatch.setenv("HTTPS_PROXY", "http://x@env.example:1")
    assert load(trust_env=True).proxy_login == basic(b"x:")


def basic(login: bytes | None) -> Secret | None:
    """Return the header for a user and a password."""
    return None if login is None else Secret(f"Basic {b64encode(login).decode()}")
