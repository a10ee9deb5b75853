"""Sources of token, account and base URL."""

import asyncio
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from aiohttp import web

from spot_billing_async import (
    AuthenticationError,
    ClientConfig,
    ConfigError,
    SpotBillingClient,
    TransportError,
)
from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.auth.settings import Settings, checked_base_url, resolve
from tests.support import serve

SECRET = "not-a-real-token"


def settings(
    environ: Mapping[str, str], token: str | None = None, account_id: str | None = None
) -> Settings:
    credential = None if token is None else Credential(token)
    with mock.patch.dict(os.environ, environ):
        return resolve(credential, account_id, None, allow_insecure=False)


async def token_of(found: Settings) -> str:
    return (await found.credential.token()).reveal()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.write_text(
        "[default]\ntoken = file-%token\naccount = act-file\n[other]\ntoken = other-token\n"
    )
    return path


async def test_arguments_beat_the_environment_beats_the_file(file: Path) -> None:
    """Each field is taken from the first source that has it: argument, environment, file."""
    at = {"SPOTINST_SHARED_CREDENTIALS_FILE": str(file)}
    from_file = settings(at)
    assert (await token_of(from_file), from_file.account_id) == ("file-%token", "act-file")
    mixed = settings({**at, "SPOTINST_TOKEN": "env-token"})
    assert (await token_of(mixed), mixed.account_id) == ("env-token", "act-file")
    env = {**at, "SPOTINST_TOKEN": "env-token", "SPOTINST_ACCOUNT": "act-env"}
    assert settings(env).account_id == "act-env"
    given = settings(env, "argument", "act-argument")
    assert (await token_of(given), given.account_id) == ("argument", "act-argument")


@pytest.mark.parametrize("name", ["SPOTINST_PROFILE", "SPOTINST_CREDENTIALS_PROFILE"])
async def test_a_named_profile_beats_the_environments_token(file: Path, name: str) -> None:
    """A named profile comes before the environment; its missing fields come from [default]."""
    found = settings(
        {"SPOTINST_CREDENTIALS_FILE": str(file), "SPOTINST_TOKEN": "env-token", name: "other"}
    )
    assert (await token_of(found), found.account_id) == ("other-token", "act-file")


def test_a_profile_that_is_not_there_is_an_error(file: Path, tmp_path: Path) -> None:
    """A missing profile or file does not fall back to other credentials."""
    env = {"SPOTINST_PROFILE": "nobody", "SPOTINST_TOKEN": "env-token"}
    with pytest.raises(ConfigError, match=r"profile must be .*\(default, other\), got 'nobody'"):
        settings({**env, "SPOTINST_CREDENTIALS_FILE": str(file)})
    with pytest.raises(ConfigError, match="does not exist"):
        settings({**env, "SPOTINST_CREDENTIALS_FILE": str(tmp_path / "none")})


async def test_the_file_may_be_yaml(file: Path) -> None:
    """The YAML file of one vendor tool is read like the INI file."""
    file.write_text(f"default:\n  token: {SECRET}\n  account: 'act-1'\nother:\n  token: x\n")
    found = settings({"SPOTINST_CREDENTIALS_FILE": str(file)})
    assert (await token_of(found), found.account_id) == (SECRET, "act-1")


@pytest.mark.parametrize(
    "content",
    [f"[default\ntoken={SECRET}\n".encode(), f"[default]\n{SECRET}\n".encode(), b"\xff[a]"],
)
def test_the_error_of_a_broken_file_does_not_quote_it(file: Path, content: bytes) -> None:
    """The error for a broken file does not quote it, because a line may hold the token."""
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        settings({"SPOTINST_CREDENTIALS_FILE": str(file)})
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_the_error_of_a_missing_token_names_where_to_set_it() -> None:
    """The error for a missing token names the argument, the variable and the file."""
    with pytest.raises(ConfigError, match=r"SPOTINST_TOKEN.*\.spotinst/credentials"):
        SpotBillingClient()


@pytest.mark.parametrize("bad", ["", "  ", "a b", "a\r\nX: y", "töken", "a\0b", 'a"b', "a\\b"])
def test_a_token_that_could_change_the_request_is_refused_and_not_shown(bad: str) -> None:
    """A token with control characters, spaces or non-ASCII text is refused and not quoted."""
    with pytest.raises(ConfigError) as caught:
        Credential(bad).checked()
    assert not bad.strip() or bad not in str(caught.value)


@pytest.mark.parametrize("bad", [123, b"token", [], object()])
def test_a_token_of_another_type_is_refused(bad: Any) -> None:
    """A token of another type is refused at construction."""
    with pytest.raises(ConfigError, match="token must be printable ASCII"):
        SpotBillingClient(bad)
    with pytest.raises(ConfigError, match="token must be printable ASCII"):
        SpotBillingClient("t").with_token(bad)


def test_a_view_needs_a_token_of_its_own() -> None:
    """None is refused as a view's token, and does not fall back to the client's."""
    with pytest.raises(ConfigError, match="token must be printable ASCII"):
        SpotBillingClient("t").with_token(None)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(
    "options",
    [{"config": None}, {"config": {}}, {"session": "x"}, {"base_url": 7}, {"base_url": ""}],
)
def test_options_of_another_type_are_refused(options: dict[str, Any]) -> None:
    """Options of another type are refused; an empty base URL does not mean the default one."""
    with pytest.raises(ConfigError, match=next(iter(options))):
        SpotBillingClient("t", **options)


def test_a_credential_does_not_show_or_pickle_its_token() -> None:
    """No repr, str or pickle of a credential or client holds the token."""
    credential = Credential(SECRET)
    assert SECRET not in f"{credential!r} {credential} {SpotBillingClient(SECRET)!r}"
    with pytest.raises(TypeError):
        pickle.dumps(credential)


async def test_a_provider_is_asked_when_its_token_is_refused() -> None:
    """A provided token is checked, and kept until it is refused; a failure is a TransportError."""
    answers = iter(["one", "two", "a b"])

    async def provider() -> str:
        try:
            return next(answers)
        except StopIteration:
            raise OSError("no more") from None

    credential = Credential(provider)
    one = await credential.token()
    assert (one.reveal(), await credential.token()) == ("one", one)
    assert credential.reject(one)
    assert credential.reject(one)  # by another who had sent it
    two = await credential.token()
    assert two.reveal() == "two"
    assert credential.reject(one)
    assert await credential.token() is two
    assert credential.reject(two)
    with pytest.raises(ConfigError, match="provider"):
        await credential.token()
    with pytest.raises(TransportError, match="OSError") as caught:
        await credential.token()
    assert not caught.value.sent


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com/", "http://localhost:8080", "http://127.0.0.9", "http://[::1]:1/x"],
)
def test_https_and_loopback_are_allowed(url: str) -> None:
    """A base URL may have a port and a path; a trailing slash is dropped."""
    assert checked_base_url(Secret(url), allow_insecure=False) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "https://user:secret@example.com",
        "https://example.com?x=1",
        "https://example.com#x",
        "https://exa mple.com",
        "https://example.com\r\nX: y",
        "https://example.com\\@evil.example",
        "https://",
        "https://a..b",
        f"https://{'a' * 64}.example.com",
        "https://example.com:port",
        "ftp://example.com",
        "example.com",
    ],
)
def test_other_base_urls_are_refused(url: str) -> None:
    """Only an unambiguous https URL, or loopback, is accepted as base URL."""
    with pytest.raises(ConfigError, match="base_url") as caught:
        checked_base_url(Secret(url), allow_insecure=False)
    assert "secret" not in str(caught.value)


def test_plain_http_can_be_allowed() -> None:
    """Plain http is accepted with `allow_insecure=True`."""
    url = "http://api.example.com"
    assert checked_base_url(Secret(url), allow_insecure=True) == url


def test_the_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument, SPOTINST_BASE_URL is used, then the contract's server."""
    assert SpotBillingClient("t").base_url == "https://api.spotinst.io"
    monkeypatch.setenv("SPOTINST_BASE_URL", "http://localhost:1")
    assert SpotBillingClient("t").base_url == "http://localhost:1"
    assert SpotBillingClient("t", base_url="http://[::1]:2").base_url == "http://[::1]:2"


class Expiring:
    """A server that accepts only the newest token, and a provider that returns a new one each time.

    Attributes:
        valid: the token that the server takes.
        asked: how often the provider was asked.
        refused: requests that the server refused.
    """

    def __init__(self, valid: str) -> None:
        self.valid = valid
        self.asked = self.refused = 0

    async def handler(self, request: web.Request) -> web.Response:
        """Answer without items, or refuse the token."""
        if request.headers["Authorization"] != f"Bearer {self.valid}":
            self.refused += 1
            return web.Response(status=401)
        return web.Response(text='{"response":{"items":[]}}')

    async def provider(self) -> str:
        """Return a new token each time, after a turn of the loop."""
        self.asked += 1
        await asyncio.sleep(0)
        return f"token-{self.asked}"


async def test_a_refused_token_is_renewed_once() -> None:
    """An expired token costs one call of the provider and no failed call, however many wait."""
    api = Expiring("token-2")
    async with (
        serve(api.handler) as base_url,
        SpotBillingClient(api.provider, base_url=base_url) as client,
    ):
        await asyncio.gather(*(client.costs.get("a") for _ in range(100)))
        assert (api.asked, api.refused > 0) == (2, True)
        api.valid = "token-3"
        await asyncio.gather(*(client.costs.get("a") for _ in range(100)))
        assert api.asked == 3
        api.valid = "none that is ever given"
        with pytest.raises(AuthenticationError):
            await client.costs.get("a")
        assert api.asked == 4  # not for ever


async def test_a_queued_call_sends_the_newest_token() -> None:
    """Of 100 queued calls, only those in flight send the expired token."""
    api, config = Expiring("token-1"), ClientConfig(max_concurrency=2)
    async with (
        serve(api.handler) as base_url,
        SpotBillingClient(api.provider, base_url=base_url, config=config) as client,
    ):
        await client.costs.get("a")
        api.valid = "token-2"
        await asyncio.gather(*(client.costs.get("a") for _ in range(100)))
    assert api.asked == 2
    assert 0 < api.refused < 10


async def test_waiting_calls_share_a_failure_but_no_cancellation() -> None:
    """Waiting calls share the provider's failure; after a cancellation another call asks it."""
    asked: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()

    async def provider() -> str:
        answer = asyncio.get_running_loop().create_future()
        asked.put_nowait(answer)
        token: str = await answer
        return token

    credential = Credential(provider)
    waiting = [asyncio.create_task(credential.token()) for _ in range(3)]
    (await asked.get()).set_exception(OSError("vault is down"))
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(failure) for failure in failures] == [TransportError] * 3
    assert len({id(failure) for failure in failures}) == 3
    first, second = (asyncio.create_task(credential.token()) for _ in range(2))
    await asked.get()
    first.cancel()
    (await asked.get()).set_result("t")
    assert (await second).reveal() == "t"
    assert first.cancelled()


def test_a_namespace_separates_credentials() -> None:
    """Equal tokens have one namespace in every process, and it does not show the token."""

    async def provider() -> str:
        return SECRET

    namespace = Credential(SECRET).checked().namespace
    assert (
        namespace
        == Credential(f" {SECRET} ").checked().namespace
        != Credential(SECRET + "x").checked().namespace
    )
    assert Credential(provider).namespace != Credential(provider).namespace
    assert SECRET not in namespace
    named = [Credential(given).of_tenant("acme").namespace for given in (provider, SECRET)]
    assert named[0] == named[1] != Credential(provider).of_tenant("umbra").namespace
    with pytest.raises(ConfigError, match="tenant must be a non-empty string"):
        Credential(provider).of_tenant(" ")


async def test_views_with_one_provider_share_its_token() -> None:
    """A view made for one request uses the token that an earlier view obtained."""

    class Vault:
        def __init__(self) -> None:
            self.asked = 0

        async def token(self) -> str:
            self.asked += 1
            return f"token-{self.asked}"

    class Unhashable(Vault):
        __hash__ = None  # type: ignore[assignment]  # what is tested

        async def __call__(self) -> str:
            return await self.token()

    async def handler(_: web.Request) -> web.Response:
        return web.Response(text='{"response":{"items":[]}}')

    vault, other, unhashable = Vault(), Vault(), Unhashable()
    async with serve(handler) as base_url, SpotBillingClient("t", base_url=base_url) as client:
        for _ in range(3):
            await client.with_token(vault.token).costs.get("a")
            await client.with_token(other.token, tenant="acme").costs.get("a")
            await client.with_token(unhashable).costs.get("a")
        await client.with_token(other.token, tenant="umbra").costs.get("a")
    assert (vault.asked, other.asked, unhashable.asked) == (1, 2, 3)
