"""Large bodies, decoded in bounded steps."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from spot_billing_async import CostItem, DecodeError, ServerError
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol import streaming_decoder
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.pagination import Page, Paginator
from spot_billing_async._core.protocol.response import (
    Response,
    parse_large_response,
    parse_response,
)
from spot_billing_async._core.protocol.streaming_decoder import (
    LargeList,
    StreamingDecoder,
    items_start,
)
from spot_billing_async.models.results import Answer

SECRET = Secret("token-of-a-test")
TRICKY = st.text(st.sampled_from('ab"\\{}[],: \n\u00e9\u2028'), max_size=12)
LEAVES = st.none() | st.integers(-5, 5) | TRICKY
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TRICKY, inner, max_size=3)
)
ITEMS = st.lists(st.dictionaries(TRICKY, VALUES, max_size=4) | LEAVES, max_size=30)


def body_of(items: Any, **more: Any) -> bytes:
    """Return an envelope with these items, and lists in it that are not theirs."""
    return msgspec.json.encode(
        {"request": {"id": "r1", "items": [1]}, "response": {"status": {"code": 200}, **more}}
        | {"response": {"kind": "[", "items": items, "count": len(items)} | more}
    )


def pieces_of(body: bytes, sizes: list[int]) -> list[bytes]:
    """Cut a body into pieces of these sizes, repeated."""
    pieces, at, number = [], 0, 0
    while at < len(body):
        size = sizes[number % len(sizes)]
        pieces.append(body[at : at + size])
        at, number = at + size, number + 1
    return pieces


def cut_after(size_bytes: int) -> AbstractContextManager[object]:
    return patch.object(streaming_decoder, "_CUT_BYTES", size_bytes)


def decoded(text: bytes) -> list[Any] | None:
    try:
        return msgspec.json.decode(text, type=list[Any])
    except msgspec.DecodeError:
        return None


@given(items=ITEMS, sizes=st.lists(st.integers(1, 90), min_size=1), cut=st.integers(1, 200))
def test_any_pieces_give_all_items_in_order(items: list[Any], sizes: list[int], cut: int) -> None:
    """A body cut at any places, within text and nested objects too, has the items of the whole."""
    body = body_of(items)
    with cut_after(cut):
        stream = StreamingDecoder(decoded)
        batches = [batch for piece in pieces_of(body, sizes) for batch in stream.feed(piece)]
    last, outline = stream.end()
    assert [*(item for batch in batches for item in batch), *last] == items
    rest = msgspec.json.decode(outline)
    assert rest["response"]["items"] == []
    assert rest["response"]["count"] == len(items)


@given(items=ITEMS, cuts=st.tuples(st.integers(1, 200), st.integers(1, 200)))
def test_the_checksum_is_that_of_the_list(items: list[Any], cuts: tuple[int, int]) -> None:
    """The checksum does not depend on the cuts, so that a repeated page is recognized."""
    sums = set()
    for cut in cuts:
        with cut_after(cut):
            stream = StreamingDecoder(decoded)
            for piece in pieces_of(body_of(items), [cut]):
                list(stream.feed(piece))
        stream.end()
        sums.add(stream.checksum)
    assert len(sums) == 1


@pytest.mark.parametrize("size", [1, 700, 5000, 1_000_000])
def test_each_step_is_bounded(size: int) -> None:
    """A batch decodes little more than is due, and as few bytes as possible are read twice."""
    body, steps = body_of([{"n": n, "text": "x" * 20} for n in range(3000)]), []

    def noting(text: bytes) -> list[Any] | None:
        steps.append(len(text))
        return decoded(text)

    with cut_after(4000):
        stream = StreamingDecoder(noting)
        batches = [batch for piece in pieces_of(body, [size]) for batch in stream.feed(piece)]
    stream.end()
    assert max(steps) <= 4000 + 100 + size % 1_000_000
    assert sum(steps) < 1.1 * len(body)
    assert min(map(len, batches)) >= 4000 // 60


def test_a_huge_item_is_not_tried_with_every_piece() -> None:
    """An item of many pieces costs as much as its size, not the square of it."""
    body, steps = body_of([{"n": n, "text": "{}}," * 50_000} for n in range(2)]), []

    def noting(text: bytes) -> list[Any] | None:
        steps.append(len(text))
        return decoded(text)

    with cut_after(1000):
        stream = StreamingDecoder(noting)
        batches = [batch for piece in pieces_of(body, [500]) for batch in stream.feed(piece)]
    batches.append(stream.end()[0])
    assert [item["n"] for batch in batches for item in batch] == [0, 1]
    assert len(steps) < 500


async def test_a_long_list_is_freed_in_steps() -> None:
    """Freeing many items gives way to other tasks; a short list is freed at once."""
    freed: list[int] = []

    class Item:
        def __del__(self) -> None:
            freed.append(1)

    items: LargeList[Item] = LargeList(Item() for _ in range(5000))
    del items
    counts = [len(freed)]
    for _ in range(4):
        await asyncio.sleep(0)
        counts.append(len(freed))
    assert counts == [0, 2000, 4000, 5000, 5000]
    freed.clear()
    short: LargeList[Item] = LargeList(Item() for _ in range(2000))
    del short
    assert len(freed) == 2000


def test_a_long_list_is_freed_without_a_loop() -> None:
    """A list that outlives its event loop is freed at once."""
    items: LargeList[object] = LargeList(object() for _ in range(5000))
    del items


@pytest.mark.parametrize(
    ("head", "start"),
    [
        (b'{"response":{"items":[1]}}', 21),
        (b'{"response" : { "items" : [1]', 26),
        (b'{"request":{"items":[1]},"response":{"x":["items"],"items":[1', 59),
        (b'{"items":[1],"response":{"items":null}}', None),
        (b'{"response":[{"items":[1]}]}', None),
        (b'[{"response":{"items":[1]}}]', None),
        (b'{"response":{"status":"\\"items\\":[1", ', None),
        (b'{"response":{"status":"unfinished \\"items\\":[', None),
        (b"}}}", None),
        (b"", None),
    ],
)
def test_the_items_are_those_of_the_response(head: bytes, start: int | None) -> None:
    """Only the list `response.items` is found, no other list and nothing within a string."""
    assert items_start(head) == start


def rows(count: int, **changed: Any) -> list[dict[str, Any]]:
    return [
        {
            "accountId": "1",
            "service": f"s{n}",
            "date": "2024-01-01",
            "cost": n / 8,
            "currency": "USD",
        }
        | changed
        for n in range(count)
    ]


async def page_of(body: bytes, size: int = 100_000) -> Page[CostItem]:
    response = Response(200, CIMultiDict(), body[:size], True, pieces_of(body, [size]))
    return await parse_large_response(
        GET_COSTS, response, decoder_for(CostItem, totalled=True), SECRET
    )


@pytest.mark.parametrize("place", [0, 3000, 7999])
async def test_a_large_body_without_an_amount_names_its_keys(place: int) -> None:
    """A row without an amount, wherever it is in a large body, is an error that lists the keys."""
    items = rows(8000)
    del items[place]["cost"]
    with pytest.raises(DecodeError, match=r"keys seen: accountId.*, service$"):
        await page_of(msgspec.json.encode({"response": {"items": items}}))


async def test_the_servers_error_comes_before_a_missing_amount() -> None:
    """A large 2xx body that holds an error is that error, although its rows have no amounts."""
    items = [{"accountId": "1", "service": "s" * 100} for _ in range(8000)]
    body = msgspec.json.encode({"response": {"status": {"code": 503}, "items": items}})
    with pytest.raises(ServerError):
        await page_of(body)


async def test_a_large_page_equals_a_small_one() -> None:
    """Both parsers give the same items, totals, ids and pagination."""
    paging = {"paginationInfo": {"totalCount": 9000, "nextKey": "k"}}
    body = body_of(rows(7000), **paging)
    large = await page_of(body)
    small = parse_response(
        GET_COSTS, Response(200, CIMultiDict(), body), decoder_for(CostItem, totalled=True), SECRET
    )
    assert large.items == small.items
    assert large.totals == small.totals == {"USD": Decimal(sum(range(7000))) / 8}
    assert (large.request_id, large.next_key, large.total_count) == ("r1", "k", 9000)


def cut_off(body: bytes) -> bytes:
    return body[:-40]


def short(body: bytes) -> bytes:
    return body.replace(b'"count":7000', b'"count":7001')


def without_cost(body: bytes) -> bytes:
    return body.replace(b'"cost":100.0', b'"price":100.0')


def of_another_shape(body: bytes) -> bytes:
    return body.replace(b'"2024-01-01","cost":100.0', b'"soon","cost":100.0')


@pytest.mark.parametrize(
    ("corrupt", "message", "permanent"),
    [
        (cut_off, "not valid JSON", False),
        (short, "count is 7001", False),
        (without_cost, "no cost", True),
        (of_another_shape, "unexpected shape", True),
    ],
)
async def test_a_large_page_that_cannot_be_trusted(
    corrupt: Callable[[bytes], bytes], message: str, permanent: bool
) -> None:
    """Responses that are errors when small are errors when large."""
    body = corrupt(body_of(rows(7000)))
    with pytest.raises(DecodeError, match=message) as caught:
        await page_of(body)
    assert caught.value.permanent is permanent


async def test_the_lenient_pass_applies_to_large_pages() -> None:
    """Integer ids and date-times in place of days are accepted in a large page."""
    page = await page_of(body_of(rows(7000, accountId=1, date="2024-01-01T00:00:00Z")))
    assert {(item.account_id, str(item.date)) for item in page.items} == {("1", "2024-01-01")}


async def test_a_repeated_large_page_is_an_error() -> None:
    """A page with the same bytes of items is an error, also with another next key."""
    paginator: Paginator[CostItem] = Paginator(GET_COSTS)

    async def add(key: str | None, size: int) -> Answer[CostItem] | None:
        info = {"paginationInfo": {"totalCount": 14000, "nextKey": key}}
        return paginator.add(await page_of(body_of(rows(7000), **info), size))

    assert await add("k", 100_000) is None
    with pytest.raises(DecodeError, match="repeats the items"):
        await add(None, 70_000)
