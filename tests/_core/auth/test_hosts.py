"""Hosts of URLs: which are accepted, and which stay on this machine."""

import os
import pwd
from typing import NoReturn

import pytest

from spot_billing_async import ClientConfig, ConfigError, SpotBillingClient

TOKEN = "not-a-real-token"
NAME = "a" * 63

VALID = [
    *(
        "a",
        "a.",
        "api.spotinst.io",
        "A-1.b_c.example",
        NAME,
        ".".join([NAME] * 3),
        "xn--bcher-kva.de",
    ),
    *(
        "127.0.0.1",
        "10.0.0.1",
        "[::1]",
        "[2001:db8::1]",
        "[::ffff:1.2.3.4]",
        "1password.com",
        "a.1b",
    ),
]
INVALID = [
    *(
        "a" * 64,
        "a..b",
        ".a",
        "a..",
        "-a.b",
        "a-.b",
        "a b",
        "a%20b",
        "a,b",
        "a<b",
        "*",
        "b\u00fccher.de",
    ),
    *(
        ".".join([NAME] * 5),
        "[::1",
        "[zz]",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
    ),
    *("256.1.1.1", "1.2.3.4.5", "127.0.0.1.", "127.0.0.01", "1", "\u0661.0.0.1", "\ud800", "a\0b"),
]


@pytest.mark.parametrize("host", VALID)
def test_valid_hosts_are_accepted(host: str) -> None:
    """Names of valid labels and addresses in their usual form are hosts."""
    assert SpotBillingClient(TOKEN, base_url=f"https://{host}/x").base_url == f"https://{host}/x"
    assert host in repr(ClientConfig(proxy=f"http://{host}:3128").proxy)


@pytest.mark.parametrize("host", INVALID)
def test_invalid_hosts_are_refused_at_construction(host: str) -> None:
    """Other hosts could not be connected to, or only some systems would know as what."""
    with pytest.raises(ConfigError, match="base_url"):
        SpotBillingClient(TOKEN, base_url=f"https://{host}")
    with pytest.raises(ConfigError, match="proxy"):
        ClientConfig(proxy=f"http://{host}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "LocalHost"]
)
def test_plain_http_is_for_loopback(host: str) -> None:
    """An address that the system maps to loopback is loopback, and of names `localhost`."""
    SpotBillingClient(TOKEN, base_url=f"http://{host}:8080")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1.evil.com", "localhost.", "localhost.evil.com", "a.localhost", "128.0.0.1"),
        *(
            "[::ffff:128.0.0.1]",
            "[::]",
            "0.0.0.0",  # noqa: S104  nothing is bound
            "[::127.0.0.1]",
            "127.1",
            "0x7f.1",
            "2130706433",
        ),
    ],
)
def test_plain_http_to_any_other_host_is_refused(host: str) -> None:
    """A name server may send names that look like loopback anywhere, so they get no token."""
    with pytest.raises(ConfigError, match="loopback host"):
        SpotBillingClient(TOKEN, base_url=f"http://{host}")


def test_no_home_directory_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without HOME, whose user has no entry, is told that the token is missing."""

    def unknown(_: object) -> NoReturn:
        raise KeyError("no such user")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert os.path.expanduser("~") == "~"  # noqa: PTH111  as the package does it
    with pytest.raises(ConfigError, match=r"token = …` under \[default\] in ~/.spotinst"):
        SpotBillingClient()
    assert SpotBillingClient(TOKEN).account_id is None


def test_a_byte_order_mark_in_the_credentials_file_is_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """An editor may write a byte order mark before `[default]`."""
    path = f"{tmp_path}/credentials"
    with open(path, "w", encoding="utf-8-sig") as file:  # noqa: PTH123  the path is text
        file.write("[default]\ntoken = not-a-real-token\naccount = act-1\n")
    monkeypatch.setenv("SPOTINST_CREDENTIALS_FILE", path)
    assert SpotBillingClient().account_id == "act-1"
