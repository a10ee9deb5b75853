"""Requests on the wire: one as expected, to the configured origin, or none."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import (
    ApiError,
    AuthenticationError,
    ClientConfig,
    ConfigError,
    DecodeError,
    RetryPolicy,
    SpotBillingClient,
)
from tests.support import http, serve_streams

TOKEN = "an-invented-token"
GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'
ODD = [
    "../x",
    "a/b",
    "a?b=c",
    "a#b",
    "a&b=c",
    "%2e%2e",
    "%0d%0aX: y",
    "é",
    "a b",
    "a;b",
    "a\\b",
    "{x}",
]
NEVER = ["a\rb", "a\nb", "a\r\nX: y", "a\0b", "\ud800", "a\u2028b", "", " "]


class Received:
    """Every byte that a server received, by connection."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []

    def heads(self) -> list[list[str]]:
        """Return the lines of each request head."""
        whole = b"".join(self.connections)
        return [head.decode("latin-1").split("\r\n") for head in whole.split(b"\r\n\r\n")[:-1]]


@asynccontextmanager
async def recording(*answers: bytes) -> AsyncIterator[tuple[str, Received]]:
    """Serve the responses in order, the last one repeatedly; record what is received."""
    received = Received()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = bytearray()
        received.connections.append(connection)
        heads = 0
        while data := await reader.read(65_536):
            connection += data
            while connection.count(b"\r\n\r\n") > heads:
                heads += 1
                writer.write(answers[min(len(received.heads()), len(answers)) - 1])

    async with serve_streams(answer) as port:
        yield f"http://127.0.0.1:{port}", received


def client_of(base_url: str, **options: Any) -> SpotBillingClient:
    """Return a client without retries."""
    config = ClientConfig(retry=RetryPolicy(max_attempts=1), **options)
    return SpotBillingClient(TOKEN, base_url=base_url, config=config)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
@pytest.mark.parametrize("own_session", [False, True], ids=["ours", "the caller's"])
async def test_no_redirect_is_followed(status: int, own_session: bool) -> None:
    """A redirect to any origin is an error, and no second request is sent."""
    async with recording(http(GOOD)) as (elsewhere, nothing):
        for location in (f"{elsewhere}/x", "/elsewhere", f"//{elsewhere[7:]}/"):
            answer = http(
                b"", f"Location: {location}", f"Refresh: 0; url={location}", status=f"{status} x"
            )
            async with (
                recording(answer) as (base_url, received),
                aiohttp.ClientSession() as session,
            ):
                client = SpotBillingClient(
                    TOKEN, base_url=base_url, session=session if own_session else None
                )
                async with client:
                    for call in (client.costs.get("a"), client.families.create(name="n")):
                        with pytest.raises(ApiError, match=str(status)):
                            await call
            lines = [head[0] for head in received.heads()]
            assert lines == [
                "GET /billingEngine/cost?accountId=a HTTP/1.1",
                "POST /billingEngine/family HTTP/1.1",
            ]
    assert not nothing.connections


async def test_no_response_header_causes_a_request() -> None:
    """Alternative services, links, cookies and challenges in a response are ignored."""
    async with recording(http(GOOD)) as (elsewhere, nothing):
        address = elsewhere.removeprefix("http://")
        headers = (
            f'Alt-Svc: h2="{address}", http/1.1="{address}"',
            f"Link: <{elsewhere}>; rel=preload",
            f"Content-Location: {elsewhere}",
            f"Refresh: 0; url={elsewhere}",
            "Set-Cookie: a=b; Path=/",
            'WWW-Authenticate: Basic realm="x"',
        )
        answers = (http(GOOD, *headers), http(b"", *headers, status="401 x"), http(GOOD))
        async with recording(*answers) as (base_url, received), client_of(base_url) as client:
            await client.costs.get("a")
            with pytest.raises(AuthenticationError):
                await client.costs.get("a")
            await client.costs.get("a")
    assert not nothing.connections
    first, second, third = received.heads()
    assert first == second == third
    assert sorted(line.split(":")[0] for line in first[1:]) == [
        "Accept",
        "Accept-Encoding",
        "Authorization",
        "Host",
        "User-Agent",
    ]
    assert f"Authorization: Bearer {TOKEN}" in first


@pytest.mark.parametrize("odd", ODD)
async def test_an_id_cannot_change_the_request(odd: str) -> None:
    """An id with special characters stays one value in a query, a path and a body."""
    encoded = quote(odd, safe="")
    async with recording(http(b"")) as (base_url, received):
        async with client_of(base_url) as client:
            await client.costs.get(odd)
            await client.accounts.list(odd)
            await client.families.get(odd)
            await client.families.delete(odd)
            await client.families.update(odd, name=odd, description=odd, account_ids=[odd])
        assert [head[0] for head in received.heads()] == [
            f"GET /billingEngine/cost?accountId={encoded} HTTP/1.1",
            f"GET /billingEngine/account?accountId={encoded} HTTP/1.1",
            f"GET /billingEngine/family/{encoded} HTTP/1.1",
            f"DELETE /billingEngine/family/{encoded} HTTP/1.1",
            f"PUT /billingEngine/family/{encoded} HTTP/1.1",
        ]
        host = base_url.removeprefix("http://")
        assert all(f"Host: {host}" in head for head in received.heads())
        body = received.connections[0].rpartition(b"\r\n\r\n")[2]
    family = {"name": odd, "description": odd, "accountIds": [odd]}
    assert json.loads(body) == {"family": family}


@pytest.mark.parametrize("bad", NEVER)
async def test_an_invalid_id_is_not_sent(bad: str) -> None:
    """Ids with control characters or lone surrogates, and blank ones, are refused."""
    async with recording(http(b"")) as (base_url, received), client_of(base_url) as client:
        for call in (
            client.costs.get(bad),
            client.accounts.list(bad),
            client.families.get(bad),
            client.families.delete(bad),
            client.families.update(bad, name="n"),
            client.families.create(name="n", account_ids=[bad]),
            client.cost_intelligence.validate(cloud_provider="aws", billing_account_id=bad),
        ):
            with pytest.raises(ConfigError):
                await call
        for dots in (".", ".."):
            with pytest.raises(ConfigError, match="would change the path"):
                await client.families.get(dots)
    assert not received.connections


@pytest.mark.parametrize("name", [*NEVER[:4], "../x", '"}', "é\u2028"])
async def test_a_name_in_a_body_stays_in_it(name: str) -> None:
    """A name of any characters stays in one JSON text of the stated length."""
    async with recording(http(b"")) as (base_url, received):
        async with client_of(base_url) as client:
            await client.families.create(name=name)
            with pytest.raises(ConfigError):
                await client.families.create(name="\ud800")
        (head,) = received.heads()
        body = received.connections[0].partition(b"\r\n\r\n")[2]
    assert f"Content-Length: {len(body)}" in head
    assert json.loads(body) == {"family": {"name": name, "accountIds": []}}


@pytest.mark.parametrize("key", [*ODD, *NEVER[:4], "k" * 3000])
async def test_a_next_key_cannot_change_the_next_request(key: str) -> None:
    """A next key of any characters is one parameter's value in the next request."""
    page = json.dumps({"response": {"items": [], "paginationInfo": {"nextKey": key}}})
    async with (
        recording(http(page.encode()), http(b'{"response":{"items":[]}}')) as (
            base_url,
            received,
        ),
        client_of(base_url) as client,
    ):
        assert await client.costs.get("a") == []
    _, second = received.heads()
    encoded = quote(key, safe="")
    assert second[0] == f"GET /billingEngine/cost?accountId=a&paginationKey={encoded} HTTP/1.1"
    assert len(second) == 6


async def test_a_next_key_of_invalid_unicode_is_an_error() -> None:
    """A lone surrogate in a response is invalid JSON, and no next request is sent."""
    page = b'{"response":{"items":[],"paginationInfo":{"nextKey":"\\ud800"}}}'
    async with recording(http(page)) as (base_url, received), client_of(base_url) as client:
        with pytest.raises(DecodeError, match="not valid JSON"):
            await client.costs.get("a")
    assert len(received.heads()) == 1


@given(st.text(st.characters(codec=None), max_size=20))
def test_any_text_is_one_request_or_none(text: str) -> None:
    """Every text as account or family id gives one expected request line, or a ConfigError."""

    async def check() -> None:
        async with recording(http(b"")) as (base_url, received):
            async with client_of(base_url) as client:
                refused = []
                for call in (client.costs.get(text), client.families.get(text)):
                    try:
                        await call
                    except ConfigError as error:
                        refused.append(error)
            encoded = quote(text, safe="", errors="replace")
            allowed = [
                f"GET /billingEngine/cost?accountId={encoded} HTTP/1.1",
                f"GET /billingEngine/family/{encoded} HTTP/1.1",
            ]
            lines = [head[0] for head in received.heads()]
            assert len(lines) + len(refused) == 2
            assert set(lines) <= set(allowed)

    asyncio.run(check())


@pytest.mark.parametrize(
    "token", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "tökén", "a b", "a\tb", "\ud800", "a\x7f"]
)
async def test_a_token_cannot_add_a_header(token: str) -> None:
    """A token that a header cannot hold, given or provided, is refused and nothing is sent."""

    async def provider() -> str:
        return token

    with pytest.raises(ConfigError, match="token must be printable ASCII"):
        SpotBillingClient(token)
    async with (
        recording(http(b"")) as (base_url, received),
        SpotBillingClient(provider, base_url=base_url) as client,
    ):
        with pytest.raises(ConfigError, match="provider's result must be printable ASCII"):
            await client.costs.get("a")
        with pytest.raises(ConfigError, match="token must be printable ASCII"):
            client.with_token(token)
    assert not received.connections


@pytest.mark.parametrize(
    "path",
    [
        "/a b",
        "/a\r\nX: y",
        "/a?b",
        "/a#b",
        "a",
        "",
        "/é",
        "/a\0",
        "/{other}",
        "/{familyId}/{familyId}",
        "//\\x",
    ],
)
def test_an_invalid_path_is_refused(path: str) -> None:
    """An override must be a plain path with the operation's own parameters."""
    with pytest.raises(ConfigError, match="path_overrides"):
        ClientConfig(path_overrides={"getAccountFamily": path})


@pytest.mark.parametrize(
    "path", ["/../x/{familyId}", "//other.example/{familyId}", "/@x:1/{familyId}"]
)
async def test_a_path_does_not_change_the_origin(path: str) -> None:
    """An override is sent unchanged, below the base URL, to the configured host only."""
    config = ClientConfig(path_overrides={"getAccountFamily": path})
    async with (
        recording(http(b"")) as (base_url, received),
        SpotBillingClient(TOKEN, base_url=f"{base_url}/b/", config=config) as client,
    ):
        await client.families.get("f")
    (head,) = received.heads()
    assert head[0] == f"GET /b{path.format(familyId='f')} HTTP/1.1"
    assert f"Host: {base_url.removeprefix('http://')}" in head
