"""Random whole responses over a socket: each is an envelope or an error of this package."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    CostItem,
    CostPlan,
    Fetched,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
)
from tests._core.protocol.test_any_answer import TOKEN, check_error, mangled

DAY = date(2018, 10, 1)

STATUS_LINES = st.one_of(
    st.sampled_from(
        [
            *(["HTTP/1.1 200 OK"] * 6),
            *(
                "HTTP/1.1 201 Created",
                "HTTP/1.1 203 x",
                "HTTP/1.1 204 No Content",
                "HTTP/1.0 200 OK",
            ),
            *(
                "HTTP/1.1 206 x",
                "HTTP/1.1 302 x",
                "HTTP/1.1 400 x",
                "HTTP/1.1 401 x",
                "HTTP/1.1 404",
            ),
            *("HTTP/1.1 429 x", "HTTP/1.1 500 x", "HTTP/1.1 100 x", "HTTP/1.1 101 x", "HTTP/2 200"),
            *("HTTP/1.1 99999 x", "HTTP/1.1 -1 x", "HTTP/1.1 abc", "", "SSH-2.0-x", "HTTP/1.1"),
        ]
    ),
    st.text(max_size=12),
)
NAMES = st.sampled_from(
    [
        *("Content-Encoding", "Content-Type", "X-Request-Id", "Retry-After", "X-RateLimit-Limit"),
        *("X-RateLimit-Remaining", "X-RateLimit-Reset", "Set-Cookie", "Location", "Connection"),
        *("Transfer-Encoding", "Content-Length", "Trailer", "Upgrade", "", "x y", "\x00"),
    ]
)
FIELD_VALUES = st.one_of(
    st.text(max_size=10),
    st.sampled_from(
        [
            *(
                "gzip",
                "x-gzip",
                "identity",
                "br",
                "",
                "chunked",
                "gzip, chunked",
                "close",
                "keep-alive",
            ),
            *("0", "1", "5", "-1", "9" * 30, "0x10", "1_0", "Mon, 01 Oct 2018 00:00:30 GMT", TOKEN),
            *(
                "http://evil.example/",
                "websocket",
                "a" * 9_000,
                "a" * 70_000,
                "\udcff",
                "\t x\r\n y",
            ),
        ]
    ),
)
FIELDS = st.lists(st.tuples(NAMES, FIELD_VALUES), max_size=4)
ROWS = st.lists(
    st.sampled_from(
        [
            *(
                '{"cost":1}',
                '{"cost":"2.5","currency":"USD"}',
                '{"cost":1,"cost":2}',
                '{"cost":null}',
            ),
            *('{"cost":1e999999999}', '{"cost":"1_0"}', '{"cost":1,"date":"2018-10-01T00:00:00Z"}'),
        ]
    ),
    max_size=4,
)
GOOD = ROWS.map(lambda rows: f'{{"response":{{"items":[{",".join(rows)}]}}}}'.encode())
BODIES = st.one_of(GOOD, GOOD, mangled(), mangled(), st.binary(max_size=200))
BODIES_OF_ALL_SIZES = st.one_of(
    BODIES, BODIES, BODIES, BODIES.map(lambda body: body + b" " * 600_000)
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Draw the bytes of one response, whose framing is right or wrong in some way."""
    body = draw(BODIES_OF_ALL_SIZES)
    fields = draw(FIELDS)
    packing = draw(st.sampled_from(["plain", "plain", "gzip", "padded", "cut", "lie"]))
    if packing != "plain":
        fields.append(("Content-Encoding", "gzip"))
    if packing in {"gzip", "padded", "cut"}:
        body = gzip.compress(body, 1)
        body = body + bytes(9) if packing == "padded" else body[:-5] if packing == "cut" else body
    match draw(st.sampled_from(["length", "length", "chunked", "chunked", "end", "short", "long"])):
        case "length":
            fields.append(("Content-Length", str(len(body))))
        case "short":
            fields.append(("Content-Length", str(max(0, len(body) - 3))))
        case "long":
            fields.append(("Content-Length", str(len(body) + 3)))
        case "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
            place = draw(st.integers(0, len(body)))
            chunks = [part for part in (body[:place], body[place:]) if part]
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks)
            body += draw(
                st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"zz\r\n"])
            )
    lines = [draw(STATUS_LINES), *(f"{name}: {value}" for name, value in fields), "", ""]
    answer = "\r\n".join(lines).encode("utf-8", "surrogatepass") + body
    return answer[: draw(st.integers(0, len(answer)))] if draw(st.integers(0, 9)) == 0 else answer


@asynccontextmanager
async def serving(answer: bytes, pause_at: int) -> AsyncIterator[str]:
    """Send the same response to each request, in two parts, and close the connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer[:pause_at])
            await asyncio.sleep(0)
            writer.write(answer[pause_at:])
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def fetch(answer: bytes, pause_at: int, item_type: Any) -> None:
    """Send a single call and a pull; check what they return or raise."""
    # Short: a refused request is sent again until the deadline.
    config = ClientConfig(deadline_s=0.5, retry=RetryPolicy(max_attempts=1))
    async with (
        serving(answer, pause_at) as base_url,
        SpotBillingClient(TOKEN, base_url=base_url, config=config) as client,
    ):
        try:
            rows = await client.costs.get("a", DAY, DAY, item_type=item_type)
        except SpotBillingError as error:
            check_error(error)
        else:
            assert isinstance(rows, list)
        plan = CostPlan.build(["a"], DAY, DAY)
        async with client.costs.pull(plan, item_type, deadline_s=0.5) as run:
            async for outcome in run:
                if not isinstance(outcome, Fetched):
                    check_error(outcome.error)
        report = run.report
        done = report.ok + report.empty + report.failed + report.cancelled + report.not_started
        assert report.planned == done == 1


@settings(max_examples=2 * settings().max_examples)
@given(answers(), st.integers(0, 100), st.sampled_from([CostItem, CostItem, dict]))
def test_any_whole_answer_is_an_envelope_or_an_error(
    answer: bytes, pause_at: int, item_type: Any
) -> None:
    """Any status line, headers, body and chunking give rows or a `SpotBillingError`, no more."""
    asyncio.run(fetch(answer, pause_at, item_type))
