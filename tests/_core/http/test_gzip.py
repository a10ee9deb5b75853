"""Decompression of gzip bodies in bounded steps."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient, TransportError
from spot_billing_async._core.http.gzip import STEP_BYTES, Gunzip
from tests.support import http, serve_raw

GOOD = b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1}}'


def unpacked(body: bytes, size: int) -> tuple[list[bytes], bool]:
    """Feed a body in parts of one size; return the pieces, and whether it is complete."""
    gunzip = Gunzip()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [piece for part in parts for piece in gunzip.feed(part)], gunzip.is_complete


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(1, 300))
def test_any_parts_of_any_members_give_the_whole(members: list[bytes], size: int) -> None:
    """A body of several members, cut anywhere, is the content of all of them."""
    pieces, is_complete = unpacked(b"".join(map(gzip.compress, members)), size)
    assert b"".join(pieces) == b"".join(members)
    assert is_complete


@given(st.binary(max_size=200), st.integers(1, 300), st.data())
def test_a_body_that_is_cut_off_is_not_complete(
    content: bytes, size: int, data: st.DataObject
) -> None:
    """A body is complete only with the last byte of its checksum."""
    body = gzip.compress(content)
    assert not unpacked(body[: data.draw(st.integers(0, len(body) - 1))], size)[1]


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("steps", [1, 3])
def test_no_piece_is_larger_than_a_step(steps: int, more: int) -> None:
    """Content that compresses well comes in full steps and a rest, whatever fills the last one."""
    size = steps * STEP_BYTES + more
    pieces, is_complete = unpacked(gzip.compress(bytes(size)), 10_000)
    assert max(map(len, pieces)) <= STEP_BYTES
    assert sum(map(len, pieces)) == size
    assert is_complete


def test_the_members_of_a_body_are_bounded() -> None:
    """A thousand members are read; each further one would copy all bytes that follow it."""
    member = gzip.compress(b"")
    assert unpacked(member * 1000, 1_000_000)[1]
    with pytest.raises(zlib.error, match="too many members"):
        unpacked(member * 1001, 1_000_000)


@pytest.mark.parametrize("lost", [1, 4, 8, 9, 12])
async def test_a_body_without_its_checksum_is_cut_off(lost: int) -> None:
    """A compressed body that lost its last bytes is an error, also if all content is there."""
    answer = http(gzip.compress(GOOD)[:-lost], "Content-Encoding: gzip")
    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with (
        serve_raw(answer) as (base_url, _),
        SpotBillingClient("t", base_url=base_url, config=config) as client,
    ):
        with pytest.raises(TransportError, match="cannot be decompressed: it ends in the middle"):
            await client.costs.get("a")
