"""Decoding of large bodies in bounded steps, so that none blocks the event loop for long. Pure.

Decoding a body of 100 MB at once takes a third of a second. Its items are therefore decoded in
batches. The list is cut after a `}` that a comma follows. Such a place may also lie within a string
or an item, or after the list; then the text before it does not decode as a list, and an earlier
place is tried. So msgspec alone decides what is valid JSON.
"""

import asyncio
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Generic, TypeVar
from zlib import crc32

from spot_billing_async._core.protocol.json_text import UNREADABLE, plain_decoder

T = TypeVar("T")

LARGE_BYTES = 512 * 1024
"""Size in bytes up to which a body is decoded at once, in one or two milliseconds."""

_CUT_BYTES = 32 * 1024  # a step of a fifth of a millisecond
_MAX_HEAD_BYTES = 64 * 1024
_MAX_TRIES = 20  # places to try as the begin of the list or the end of an item
_MAX_ENDS = 1000
_FREED_AT_ONCE = 2_000  # items

_LIST = re.compile(rb'"items"\s*:\s*\[')
_COMMA = re.compile(rb"\s*,")


class LargeList(list[T]):
    """List that frees its items in steps while an event loop runs.

    Freeing a million items at once would block the loop for a tenth of a second, at whichever
    moment the last reference to the list is dropped.
    """

    def __del__(self) -> None:
        if len(self) > _FREED_AT_ONCE:
            with suppress(RuntimeError):  # without a loop there is nothing to block
                loop = asyncio.get_running_loop()
                loop.call_soon(_free, loop, self)


def _free(loop: asyncio.AbstractEventLoop, items: list[Any]) -> None:
    """Free some items, and schedule the next step while any are left."""
    del items[-_FREED_AT_ONCE:]
    if items:
        loop.call_soon(_free, loop, items)


class StreamingDecoder(Generic[T]):
    """Decoder that takes the pieces of a body and yields its items in batches.

    `decode` decodes a JSON list to items, and returns None for invalid JSON.
    """

    def __init__(self, decode: Callable[[bytes], list[T] | None]) -> None:
        self._decode = decode
        self.checksum: int = 0  # CRC-32 of the list's text so far, wherever it was cut
        self._due_bytes = _CUT_BYTES
        self._head = b""  # the body before the list
        self._rest = bytearray()  # from the list's bracket on; the whole body until that is found

    def feed(self, piece: bytes) -> Iterator[list[T]]:
        """Add a piece, and yield the items that are complete, in batches of about 32 KB."""
        self._rest += piece
        if not self._head:
            start = items_start(self._rest[:_MAX_HEAD_BYTES])
            if start is None:
                return
            self._head = bytes(self._rest[:start])
            del self._rest[:start]
        while len(self._rest) >= self._due_bytes:
            items = self._cut()
            if items is None:
                # Doubling keeps the cost of repeated tries linear in the size of a huge item.
                self._due_bytes = 2 * len(self._rest)
                return
            self._due_bytes = _CUT_BYTES
            yield items

    def end(self) -> tuple[list[T], bytes]:
        """Return the last items, and the body with an empty list of items.

        The rest of the body as it is, where it has no such list or the list has no end.
        """
        end = -1
        for _ in range(_MAX_ENDS if self._head else 0):
            # The rest of the list may hold items of any kind, so each bracket may be its end.
            end = self._rest.find(b"]", end + 1)
            if end < 0:
                break
            items = self._decode(bytes(self._rest[: end + 1]))
            if items is not None:
                self.checksum = crc32(self._rest[1 : end + 1], self.checksum)
                return items, self._head + b"[]" + self._rest[end + 1 :]
        return [], self._head + self._rest

    def _cut(self) -> list[T] | None:
        """Take the items before the last cut that decodes; None where there is none yet."""
        end = _CUT_BYTES
        for _ in range(_MAX_TRIES):
            end = self._rest.rfind(b"}", 0, end)
            if end < 0:
                break
            comma = _COMMA.match(self._rest, end + 1)
            if comma is None:
                continue
            items = self._decode(bytes(self._rest[: end + 1]) + b"]")
            if items is not None:
                self.checksum = crc32(self._rest[1 : comma.end()], self.checksum)
                del self._rest[: comma.end() - 1]
                self._rest[0] = ord("[")
                return items
        return None


def items_start(head: bytes | bytearray) -> int | None:
    """Return the offset of the list `response.items`; None where it does not begin in `head`."""
    for found in islice(_LIST.finditer(head), _MAX_TRIES):
        start = found.end() - 1
        with suppress(*UNREADABLE):
            # Only with this list's brackets are two braces enough to complete the body.
            match plain_decoder.decode(head[:start].removeprefix(BOM_UTF8) + b"[]}}"):
                case {"response": {"items": []}}:
                    return start
    return None
