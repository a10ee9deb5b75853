"""Search for the token in everything that an application may keep of a call."""

import asyncio
import base64
import gzip
import html
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    DeadlineExceededError,
    DecodeError,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
    TlsConfig,
    TransportError,
)
from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.error_mapping import read_error
from spot_billing_async._core.protocol.operations import GET_COSTS
from tests.hostile.everything import Everything, attempt, capturing
from tests.support import http, serve_streams

TOKEN = "8f1d0c7ab2e94563-not-a-real-token"
PASSWORD = "c70e44d1-an-invented-password"
DAY = date(2018, 10, 1)
ONCE = RetryPolicy(max_attempts=1)
ECHO = f"Authorization: Bearer {TOKEN}"
HEADERS = (f"X-Request-Id: {TOKEN}", f"Set-Cookie: a={TOKEN}", "Connection: close")
CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def response(body: str, *headers: str, **options: Any) -> bytes:
    """Return a response whose headers echo the token."""
    return http(body.encode(), *HEADERS, *headers, **options)


ERROR = (
    f'{{"request":{{"id":"{TOKEN}"}},"response":{{"status":{{"code":"{TOKEN}","message":"{TOKEN}"}},'
    f'"errors":[{{"code":"{TOKEN}","message":"{ECHO}"}}],"data":"{TOKEN}"}}}}'
)
GOOD = (
    f'{{"request":{{"id":"{TOKEN}"}},"response":{{"status":{{"code":200,"message":"{TOKEN}"}},'
    f'"kind":"{TOKEN}","items":[{{"cost":1,"currency":"USD","{TOKEN}":1}}],"count":1}}}}'
)
RESPONSES = {
    "200": response(GOOD),
    "200 that is blank": response(""),
    "200 with the token as next key": response(
        f'{{"response":{{"items":[],"paginationInfo":{{"nextKey":"k/{TOKEN}"}}}}}}'
    ),
    "200 with a count that is wrong": response(GOOD.replace('"count":1', '"count":2')),
    "200 with items of another shape": response(
        f'{{"response":{{"items":[{{"cost":"{TOKEN}"}}]}}}}'
    ),
    "200 with items without amounts": response(f'{{"response":{{"items":[{{"{TOKEN}":1}}]}}}}'),
    "200 with days of another shape": response(
        f'{{"response":{{"items":[{{"cost":1,"date":"{TOKEN}"}}]}}}}'
    ),
    "200 without JSON": response(ECHO),
    "302": response(ECHO, f"Location: https://{TOKEN}.example/?{TOKEN}", status=f"302 {TOKEN}"),
    "400": response(ERROR, status=f"400 {TOKEN}"),
    "401": response(f"<p>{ECHO}</p>", f"WWW-Authenticate: Bearer {TOKEN}", status=f"401 {TOKEN}"),
    "429": response(ERROR, f"Retry-After: {TOKEN}", f"X-RateLimit-Limit: {TOKEN}", status="429 x"),
    "500": response(ERROR, status=f"500 {TOKEN}"),
    "cut off": response(GOOD, length=9999),
    "cut off in a chunk": f"{CHUNKED}99\r\n{ECHO}".encode(),
    "cut off in the head": f"HTTP/1.1 200 OK\r\n{ECHO}".encode(),
    "garbage": f"{ECHO}\r\n\r\n".encode(),
    "garbage in the head": f"HTTP/1.1 200 OK\r\n{TOKEN}\r\n\r\n".encode(),
    "garbage in a chunk": f"{CHUNKED}{TOKEN}\r\n".encode(),
    "no gzip": response(ECHO, "Content-Encoding: gzip"),
    "gzip that is cut off": http(gzip.compress(ECHO.encode())[:-9], "Content-Encoding: gzip"),
    "another encoding": response(ECHO, f"Content-Encoding: {TOKEN}"),
    "too large": response(TOKEN * 10_000),
    "nothing": b"",
}


@asynccontextmanager
async def serving(data: bytes, *, close: bool = True) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Serve the same bytes to every request; yield the base URL, and an event set by a request."""
    arrived = asyncio.Event()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert ECHO.encode() in await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        arrived.set()
        if not close:
            await reader.read()

    async with serve_streams(respond) as port:
        yield f"http://127.0.0.1:{port}", arrived


def client_of(base_url: str, kept: Everything, **limits: Any) -> SpotBillingClient:
    """Return a client without retries, with its events kept."""
    config = ClientConfig(retry=ONCE, max_response_bytes=100_000, **limits)
    return SpotBillingClient(TOKEN, base_url=base_url, config=config, hook=kept)


async def pulled(client: SpotBillingClient, kept: Everything) -> object:
    """Pull one slice, keep its outcome and return the report."""
    async with client.costs.pull(CostPlan.build(["a"], DAY, DAY)) as run:
        async for outcome in run:
            kept.keep(outcome)
            if (error := getattr(outcome, "error", None)) is not None:
                kept.keep_error(error)
    return run.report


@pytest.mark.parametrize("name", RESPONSES)
async def test_no_response_reveals_the_token(name: str) -> None:
    """A token echoed in any part of a response is in nothing that is logged, shown or pickled.

    The fields of rows are the caller's data, and returned unchanged.
    """
    with capturing() as kept:
        async with serving(RESPONSES[name]) as (base_url, _), client_of(base_url, kept) as client:
            await attempt(kept, lambda: client.costs.get("a"))
            await attempt(kept, client.families.list)
            await attempt(kept, lambda: client.families.create(name="n"))
            await attempt(kept, lambda: pulled(client, kept))
            kept.keep(client, client._session, client._session._credential, client._shared)
    assert all(isinstance(error, SpotBillingError) for error in kept.errors)
    assert (not kept.errors) == (name in {"200", "200 that is blank"})
    assert len(kept.exported.calls) == len(kept.exported.requests) == 4
    kept.assert_without(TOKEN)


@pytest.mark.parametrize("data", [b"", response(GOOD, length=9999)], ids=["silence", "in the body"])
async def test_a_deadline_and_a_cancellation_drop_the_frames_of_aiohttp(
    data: bytes,
) -> None:
    """Errors that pass through frames of aiohttp, which hold the headers, do not show them."""
    with capturing() as kept:
        async with serving(data, close=False) as (base_url, arrived):
            async with client_of(base_url, kept, deadline_s=0.2) as client:
                late = await attempt(kept, lambda: client.costs.get("a"))
                await attempt(kept, lambda: pulled(client, kept))
            async with client_of(base_url, kept) as client:
                arrived.clear()
                call = asyncio.create_task(attempt(kept, lambda: client.costs.get("a")))
                await arrived.wait()
                call.cancel()
                cancelled = await call
    assert isinstance(late, DeadlineExceededError)
    assert isinstance(cancelled, asyncio.CancelledError)
    kept.assert_without(TOKEN)


async def test_errors_about_arguments_do_not_show_the_token() -> None:
    """Errors about invalid arguments do not show a token in the same call."""
    ready: Any = SpotBillingClient
    with capturing() as kept:
        for make in (
            lambda: ready(f"{TOKEN}\r\nX: y"),
            lambda: ready(TOKEN.encode()),
            lambda: ready([TOKEN]),
            lambda: ready("t").with_token(f"{TOKEN}\nX: y"),
            lambda: ready("t").with_token(TOKEN, account_id=""),
            lambda: ready(TOKEN, base_url="ftp://x"),
            lambda: ready(TOKEN, base_url="http://api.example.com"),
            lambda: ready(TOKEN, base_url=7),
            lambda: ready(TOKEN, account_id="\n"),
            lambda: ready(TOKEN, config=None),
            lambda: ready(TOKEN, hook="x"),
            lambda: ready(TOKEN, session="x"),
            lambda: ClientConfig(proxy=f"http://u:{TOKEN}@[::1", deadline_s=0),
            lambda: ClientConfig(proxy=f"http://u:{TOKEN}@host", deadline_s=0),
            lambda: TlsConfig(client_key_password=TOKEN),
        ):
            assert isinstance(await attempt(kept, make), ConfigError)
        async with client_of("http://127.0.0.1:9", kept, connect_timeout_s=1.0) as client:
            assert isinstance(await attempt(kept, lambda: client.costs.get("a")), TransportError)
            assert isinstance(await attempt(kept, lambda: client.costs.get("\n")), ConfigError)
        assert isinstance(await attempt(kept, lambda: client.costs.get("a")), ConfigError)
        kept.keep(ClientConfig(proxy=f"http://u:{TOKEN}@proxy.example:3128"))
        kept.keep(TlsConfig(client_cert_file="x", client_key_password=TOKEN))
    kept.assert_without(TOKEN)


@pytest.mark.parametrize("kind", ["raises", "bad", "sync", "no text"])
async def test_a_failing_provider_does_not_show_the_token(kind: str) -> None:
    """A provider's exception is kept as the cause; its return value is in no frame of ours."""

    async def provider() -> str:
        if kind == "raises":
            raise OSError("vault is down")
        return f"{TOKEN}\n{TOKEN}"

    answers: dict[str, Any] = {
        "sync": lambda: f"{TOKEN} {TOKEN}",
        "no text": lambda: [TOKEN],
    }
    with capturing() as kept:
        async with SpotBillingClient(
            answers.get(kind, provider),
            base_url="http://127.0.0.1:9",
            config=ClientConfig(retry=ONCE),
            hook=kept,
        ) as client:
            error = await attempt(kept, lambda: client.costs.get("a"))
            kept.keep(client)
    assert isinstance(error, TransportError if kind == "raises" else ConfigError)
    assert isinstance(error.__cause__, OSError) == (kind == "raises")
    kept.assert_without(TOKEN)


@pytest.mark.parametrize(
    "content",
    [
        f"[default\ntoken = {TOKEN}\n",
        f"[default]\n{TOKEN}\n",
        f"[default]\ntoken = {TOKEN} {TOKEN}\n",
        f"[default]\ntoken = {TOKEN}\naccount = \x07\n",
        f"[other]\ntoken = {TOKEN}\n",
        f"default:\n  token: {TOKEN}\x07\n",
        f"\udcff[default]\ntoken = {TOKEN}\n",
    ],
    ids=["section", "line", "token", "account", "profile", "yaml", "encoding"],
)
async def test_errors_about_credentials_do_not_show_them(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors about a credentials file show neither its text nor any environment variable."""
    path = tmp_path / "credentials"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    monkeypatch.setenv("SPOTINST_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("ANOTHER", TOKEN)
    with capturing() as kept:
        assert isinstance(await attempt(kept, SpotBillingClient), ConfigError)
        monkeypatch.setenv("SPOTINST_TOKEN", TOKEN)
        monkeypatch.setenv("SPOTINST_PROFILE", "nobody")
        assert isinstance(await attempt(kept, SpotBillingClient), ConfigError)
        monkeypatch.delenv("SPOTINST_PROFILE")
        monkeypatch.setenv("SPOTINST_ACCOUNT", "a")
        monkeypatch.setenv("SPOTINST_BASE_URL", "nowhere")
        assert isinstance(await attempt(kept, SpotBillingClient), ConfigError)
    kept.assert_without(TOKEN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o600, 0o400])
async def test_a_file_that_others_can_read_gets_a_warning(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log record per file names it and its mode; it is not a Python warning."""
    path = tmp_path / "credentials"
    path.write_text(f"[default]\ntoken = {TOKEN}\n")
    path.chmod(mode)
    monkeypatch.setenv("SPOTINST_CREDENTIALS_FILE", str(path))
    with capturing() as kept:
        for _ in range(3):
            SpotBillingClient()
    warned = [text for text in kept.texts if text.startswith(f"{path} has mode 0{mode:o}")]
    assert len(warned) == (mode & 0o077 > 0)
    kept.assert_without(TOKEN)


async def test_a_file_of_another_user_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A credentials file that belongs to another user is warned about like one that is open."""
    path = tmp_path / "credentials"
    path.write_text(f"[default]\ntoken = {TOKEN}\n")
    path.chmod(0o600)
    monkeypatch.setenv("SPOTINST_CREDENTIALS_FILE", str(path))
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with capturing() as kept:
        for _ in range(3):
            SpotBillingClient()
    warned = [text for text in kept.texts if text.startswith(f"{path} belongs to another user")]
    assert len(warned) == 1
    assert f"({owner}), so others can read or change the token in it" in warned[0]
    kept.assert_without(TOKEN)


BAD_URLS = [
    "https//u:{}@api.example",
    "u:{}@api.example",
    "//u:{}@api.example",
    "https:u:{}@api.example",
    "https:/u:{}@api.example",
    "https:///u:{}@api.example",
    "https:\\\\u:{}@api.example",
    "https://u:{}\\@api.example",
    "https://u:{} @api.example",
    " https://u:{}@api.example",
    "https://u:{}@api.example:port",
    "https://u:{}@api.example:99999",
    "https://u:{}%40api.example",
    "https://u:{}",
    "https://u:12/{}@api.example",
    "https://u@x:{}@y@api.example",
    "https://u:{}@[::1",
    "https://u:{}@a..b",
    "https://u:{}@",
    "http://u:{}@api.example",
    "ftp://u:{}@api.example",
    "https://api.example?token={}",
    "https://api.example#{}",
    "https://u:{}\n@api.example",
    "https://ü:{}@api.example",
]


@pytest.mark.parametrize("form", BAD_URLS)
async def test_a_malformed_base_url_does_not_show_its_password(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base URL that is refused is not quoted, as it may hold a password in any place."""
    with capturing() as kept:
        error = await attempt(kept, lambda: SpotBillingClient("t", base_url=form.format(PASSWORD)))
        assert isinstance(error, ConfigError)
        assert "base_url" in str(error)
        monkeypatch.setenv("SPOTINST_BASE_URL", form.format(PASSWORD))
        assert isinstance(await attempt(kept, lambda: SpotBillingClient("t")), ConfigError)
    kept.assert_without(PASSWORD)


@given(st.text(st.sampled_from("@:/\\?#%[] .hts"), max_size=8), st.sampled_from(["https://u:", ""]))
def test_no_form_of_a_base_url_shows_a_password(around: str, start: str) -> None:
    """With a password before an @, a base URL is refused without being quoted."""
    with pytest.raises(ConfigError) as caught:
        SpotBillingClient("t", base_url=f"{start}{around}{PASSWORD}{around}@api.example{around}")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("name", ["200", "401", "500"])
@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "debug"])
async def test_the_command_shows_and_writes_no_token(
    name: str, debug: tuple[str, ...], tmp_path: Path
) -> None:
    """The command's output, its files and its command line do not hold the token."""
    async with serving(RESPONSES[name]) as (base_url, arrived):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-X", "dev", "-m", "spot_billing_async.cli", *debug),
            *("costs", "pull", "--account", "a", "--from", "2018-10-01", "--to", "2018-10-01"),
            *("--out", str(tmp_path / "costs.csv"), "--report", str(tmp_path / "report.json")),
            env={
                "HOME": str(tmp_path),
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "SPOTINST_TOKEN": TOKEN,
                "SPOTINST_BASE_URL": base_url,
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await arrived.wait()
        kept = Everything()
        line = Path(f"/proc/{process.pid}/cmdline")
        if line.exists():
            kept.texts.append(line.read_text())
        kept.texts += [output.decode() for output in await process.communicate()]
    assert process.returncode == (0 if name == "200" else 3), kept.texts
    kept.keep_files(tmp_path)
    assert any("report.json" in text for text in kept.texts)
    kept.assert_without(TOKEN)


async def test_a_next_key_with_the_token_is_not_sent() -> None:
    """A next key that holds the token is an error, and no second request is sent."""
    heads: list[bytes] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(RESPONSES["200 with the token as next key"])

    async with (
        serve_streams(respond) as port,
        client_of(f"http://127.0.0.1:{port}", Everything()) as client,
    ):
        with pytest.raises(DecodeError, match="next page's key holds the token"):
            await client.costs.get("a")
    assert len(heads) == 1


@pytest.mark.parametrize(
    "body",
    [
        f'{{"response":{{"items":[{{"name":"{TOKEN}"}},{{"name":"{TOKEN}"}}]}}}}',
        f'{{"response":{{"items":[{{"name":"{TOKEN}"}}],"paginationInfo":{{"totalCount":2}}}}}}',
        f'{{"response":{{"items":[{{"name":"{TOKEN}"}}],"paginationInfo":{{"nextKey":"k"}}}}}}',
    ],
    ids=["two families", "too few", "the same page for ever"],
)
async def test_rows_of_an_invalid_response_are_in_no_traceback(body: str) -> None:
    """An error about the form of a response does not show its rows."""
    with capturing() as kept:
        async with serving(response(body)) as (base_url, _), client_of(base_url, kept) as client:
            await attempt(kept, lambda: client.families.get("f"))
            await attempt(kept, lambda: client.families.create(name="n"))
    assert {type(error) for error in kept.errors} == {DecodeError}
    kept.assert_without(TOKEN)


async def test_the_search_finds_a_leak() -> None:
    """A token in a variable, a log record, a wrapped line or printed output is found."""

    def leak() -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        raise LookupError(len(headers))

    for do in (
        leak,
        lambda: logging.getLogger("any").debug("%s", TOKEN),
        lambda: [TOKEN],
        lambda: print(TOKEN),  # noqa: T201  output is captured too
    ):
        with capturing() as kept:
            await attempt(kept, do)
        with pytest.raises(AssertionError):
            kept.assert_without(TOKEN)


def test_the_search_finds_an_exported_leak() -> None:
    """A token in a span's name, or in an attribute of a metric, is found."""
    spans, metrics = Everything(), Everything()
    for kept in (spans, metrics):
        kept.assert_without(TOKEN)
    spans.exported.tracers.get_tracer("x").start_span(TOKEN).end()
    metrics.exported.meters.get_meter("x").create_counter("x").add(1, {"x": TOKEN})
    for kept in (spans, metrics):
        with pytest.raises(AssertionError):
            kept.assert_without(TOKEN)


def test_a_secret_is_masked_and_can_be_removed() -> None:
    """A secret's repr hides its text; the secret finds and removes its text in others."""
    secret = Secret(TOKEN, shown="a token")
    assert repr(secret) == "Secret(a token)"
    assert secret.removed_from(f"<{TOKEN}>") == "<[token removed]>"
    assert secret.is_in(ECHO)
    assert not secret.is_in("anything")
    assert repr(Credential(TOKEN)) == "Credential(***)"


def percent(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


def unicode_escapes(text: str) -> str:
    return "".join(f"\\u{ord(character):04X}" for character in text)


def decimal_entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def hex_entities(text: str) -> str:
    return "".join(f"&#X{ord(character):04x};" for character in text)


def json_text(text: str) -> str:
    return json.dumps(text)[1:-1].replace("/", "\\/")


ESCAPES: list[Callable[[str], str]] = [
    *(percent, unicode_escapes, decimal_entities, hex_entities, json_text),
    *(quote, html.escape, str.upper, str.title),
]
TOKENS = st.text(st.sampled_from("azAZ09-._~+/="), min_size=8, max_size=64)


@given(TOKENS, st.lists(st.sampled_from(ESCAPES), max_size=2), st.sampled_from(["", " é ", "<p>"]))
def test_an_escaped_echo_is_removed_whole(
    token: str, escapes: list[Callable[[str], str]], around: str
) -> None:
    """A token escaped as in JSON, URLs or HTML, also more than once, is removed whole."""
    echo = token
    for escape in escapes:
        echo = escape(echo)
    shown = Secret(token).removed_from(f"{around}{echo}{around}")
    assert shown == f"{around}[token removed]{around}"
    assert Secret(token).is_in(echo)


@given(TOKENS, st.binary(max_size=9), st.binary(max_size=9), st.booleans())
def test_an_encoded_echo_is_removed(token: str, before: bytes, after: bytes, url: bool) -> None:
    """A token in base64, whatever stands around it there, or in hexadecimal digits is removed."""
    encode = base64.urlsafe_b64encode if url else base64.b64encode
    text = f'{{"seen":"{encode(before + token.encode() + after).decode()}"}}'
    for shown in (Secret(token).removed_from(text), Secret(token).removed_from(quote(text))):
        assert "[token removed]" in shown
        assert not Secret(token).is_in(shown)
    assert Secret(token).removed_from(f"<{token.encode().hex()}>") == "<[token removed]>"


@given(st.text(max_size=200))
def test_a_text_without_the_token_is_returned_unchanged(text: str) -> None:
    """Text with any escapes is returned as it is, if it does not show the token."""
    assert Secret(TOKEN).removed_from(text) == text


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("padding", [0, 480, 499, 500, 16_380, 20_000])
async def test_a_token_at_the_end_of_an_excerpt_is_removed_whole(
    escape: Callable[[str], str], padding: int
) -> None:
    """No part of an escaped token is left where a text of the server is cut."""
    for echo in (escape(TOKEN), escape(escape(TOKEN))):
        text = "x" * padding + echo
        error = read_error(GET_COSTS, 500, {}, text.encode(), Secret(TOKEN))
        for shown in (error.body_excerpt, Secret(TOKEN).removed_from(text)):
            assert "[token removed]".startswith(shown.lstrip("x").replace("\\", ""))


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_token_of_unusual_characters_hides_the_whole_text(escape: Callable[[str], str]) -> None:
    """A token with characters that no bearer token has is not shown in any part of a text."""
    token = "{12345},<67890>"
    assert Secret(token).removed_from(f"a {escape(token)} b") in {
        "[token removed]",
        "a [token removed] b",
    }


def test_a_short_token_is_removed_where_it_stands_alone() -> None:
    """A token that could be a word is not cut out of other words."""
    shown = Secret("act").removed_from("act &#97;ct action pact 'ACT'")
    assert shown == "[token removed] [token removed] action pact '[token removed]'"


def test_an_empty_secret_removes_nothing() -> None:
    """An empty secret leaves every text unchanged."""
    assert Secret("").removed_from("a b") == "a b"
