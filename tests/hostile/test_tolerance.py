"""Responses that differ from the usual in ways that change no row: they are accepted."""

import gzip

import pytest

from spot_billing_async import ClientConfig, DecodeError, SpotBillingClient, SpotBillingError
from tests.support import http, serve_raw

BOM = b"\xef\xbb\xbf"
ROWS = b'{"response":{"items":[{"cost":1.5,"accountId":"a"}],"count":1}}'
PACKED = gzip.compress(ROWS)
MANY = b'{"response":{"items":[' + b",".join([b'{"cost":1,"service":"s"}'] * 40_000) + b"]}}"


async def fetch(answer: bytes) -> list[str]:
    """Return the costs that one response holds, as text."""
    async with (
        serve_raw(answer) as (base_url, _),
        SpotBillingClient(
            "not-a-real-token", base_url=base_url, config=ClientConfig(deadline_s=5)
        ) as client,
    ):
        return [str(item.cost) for item in await client.costs.get("a")]


@pytest.mark.parametrize(
    "answer",
    [
        http(BOM + ROWS),
        http(gzip.compress(BOM + ROWS), "Content-Encoding: gzip"),
        http(PACKED, "Content-Encoding: x-gzip"),
        http(PACKED, "Content-Encoding: GZip , identity"),
        http(PACKED + bytes(5), "Content-Encoding: gzip"),
        http(
            gzip.compress(ROWS[:9]) + bytes(3) + gzip.compress(ROWS[9:]), "Content-Encoding: gzip"
        ),
        http(ROWS, "Content-Encoding:"),
        http(ROWS, "Content-Encoding: identity"),
        http(ROWS, status="203 Non-Authoritative Information"),
        http(ROWS, f"Set-Cookie: {'c' * 65_000}"),
    ],
)
async def test_harmless_variations_are_accepted(answer: bytes) -> None:
    """A byte order mark, a spelling of gzip, padding, 203 and long headers change no row."""
    assert await fetch(answer) == ["1.5"]


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 200_000])
async def test_a_byte_order_mark_may_arrive_in_parts(cut: int) -> None:
    """A byte order mark before a large body is accepted, also if its bytes arrive apart."""
    body = BOM + MANY
    chunks = [part for part in (body[:cut], body[cut:]) if part]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert len(await fetch(head + sent + b"0\r\n\r\n")) == 40_000


async def test_an_error_is_read_after_a_byte_order_mark() -> None:
    """The code and the message of an error body are read although a byte order mark comes first."""
    body = BOM + b'{"response":{"errors":[{"code":"Nope","message":"not today"}]}}'
    for status in ("400 Bad Request", "200 OK"):
        with pytest.raises(SpotBillingError, match="not today"):
            await fetch(http(body, status=status))


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "deflate", "x-br"])
async def test_other_codings_are_refused(coding: str) -> None:
    """A coding that was not asked for, or gzip twice, is an error."""
    with pytest.raises(SpotBillingError, match="Content-Encoding was not asked for"):
        await fetch(http(PACKED, f"Content-Encoding: {coding}"))


@pytest.mark.parametrize("extra", [b"\0x", b"garbage", b"\0" + PACKED[:-4]])
async def test_other_bytes_after_gzip_are_refused(extra: bytes) -> None:
    """Only zeros may follow gzip: other bytes, and a member that is cut off, are an error."""
    with pytest.raises(SpotBillingError, match="cannot be decompressed"):
        await fetch(http(PACKED + extra, "Content-Encoding: gzip"))


async def test_headers_over_64_kb_are_refused() -> None:
    """The size of a header is bounded."""
    with pytest.raises(SpotBillingError, match="cut off, or not HTTP"):
        await fetch(http(ROWS, f"Set-Cookie: {'c' * 70_000}"))


async def test_the_error_of_a_page_that_is_html_shows_its_beginning() -> None:
    """A 200 that is HTML shows its first bytes, printable, without the token."""
    page = "<!DOCTYPE html>\n<title>Sign in \x1b[31m not-a-real-token</title>" + "x" * 1000
    with pytest.raises(DecodeError) as caught:
        await fetch(http(page.encode()))
    shown = str(caught.value)
    assert "it begins with '<!DOCTYPE html>\\n<title>Sign in \\x1b[31m [token removed]" in shown
    assert len(shown) < 400


async def test_the_error_of_cut_json_shows_no_rows() -> None:
    """The beginning of a body is shown only if it is not JSON, as rows are the tenant's data."""
    with pytest.raises(DecodeError) as caught:
        await fetch(http(BOM + ROWS[:-9]))
    assert "begins" not in str(caught.value)
