"""Decoding of large bodies in bounded steps, so that none blocks the event loop for long. Pure.

Decoding a body of 100 MB at once takes a third of a second. Its items are therefore decoded in
batches, as the pieces of the body are fed. The list is cut after a `}` that a comma or the end of
the list follows. Such a place may also lie within a string or within an item; then the text before
the cut is not a whole list and does not decode, and an earlier place is tried. So msgspec alone
decides what is valid JSON.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar
from zlib import crc32

T = TypeVar("T")

LARGE_BYTES = 512 * 1024
"""Size in bytes up to which a body is decoded at once, in one or two milliseconds."""

_CUT_BYTES = 32 * 1024  # a step of a fifth of a millisecond
_MAX_HEAD_BYTES = 64 * 1024
_MAX_TRIES = 20  # places to try as the end of an item, before waiting for more bytes
_MAX_ENDS = 1000
_FREED_AT_ONCE = 2_000  # items

_TOKEN = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+)(?=.)', re.DOTALL)
_FOLLOWS = re.compile(rb"\s*([,\]])")


class LargeList(list[T]):
    """List that frees its items in steps while an event loop runs.

    Freeing a million items at once would block the loop for a tenth of a second, at whichever
    moment the last reference to the list is dropped.
    """

    def __del__(self) -> None:
        if len(self) <= _FREED_AT_ONCE:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # without a loop there is nothing to block
            return
        loop.call_soon(_free, loop, self)


def _free(loop: asyncio.AbstractEventLoop, items: list[Any]) -> None:
    """Free some items, and schedule the next step while any are left."""
    del items[-_FREED_AT_ONCE:]
    if items:
        loop.call_soon(_free, loop, items)


class StreamingDecoder(Generic[T]):
    """Decoder that takes the pieces of a body and yields its items in batches.

    Args:
        decode: decodes a JSON list to items; returns None for invalid JSON.

    Attributes:
        checksum: CRC-32 of the list's text so far, independent of where it was cut.
    """

    def __init__(self, decode: Callable[[bytes], list[T] | None]) -> None:
        self._decode = decode
        self.checksum = 0
        self._due_bytes = _CUT_BYTES
        self._head: bytes | None = None
        self._list = bytearray()  # from its bracket on; the whole body until that is found
        self._tail: bytearray | None = None  # set once the list has ended

    def feed(self, piece: bytes) -> Iterator[list[T]]:
        """Add a piece, and yield the items that are complete, in batches of about 32 KB."""
        if self._tail is not None:
            self._tail += piece
            return
        self._list += piece
        if self._head is None:
            start = items_start(self._list[:_MAX_HEAD_BYTES])
            if start is None:
                return
            self._head = bytes(self._list[:start])
            del self._list[:start]
        while len(self._list) >= self._due_bytes:
            items = self._cut()
            if items is None:
                # Doubling keeps the cost of repeated tries linear in the size of a huge item.
                self._due_bytes = 2 * len(self._list)
                return
            self._due_bytes = _CUT_BYTES
            yield items

    def end(self) -> tuple[list[T], bytes]:
        """Return the last items, and the outline: the body with an empty list of items.

        Where no list of items was found, or its end is missing, the outline is the rest as it is.
        """
        if self._head is None:
            return [], bytes(self._list)
        if self._tail is not None:
            return [], self._head + b"[]" + self._tail
        end = -1
        for _ in range(_MAX_ENDS):
            # The rest of the list may hold items of any kind, so each bracket may be its end.
            end = self._list.find(b"]", end + 1)
            if end < 0:
                break
            items = self._decode(bytes(self._list[: end + 1]))
            if items is not None:
                self._take(end)
                return items, self.end()[1]  # the outline, as the list has now ended
        return [], self._head + self._list

    def _cut(self) -> list[T] | None:
        """Take the items before the last cut that decodes; None where there is none yet."""
        end = _CUT_BYTES
        for _ in range(_MAX_TRIES):
            end = self._list.rfind(b"}", 0, end)
            if end < 0:
                return None
            follows = _FOLLOWS.match(self._list, end + 1)
            if follows is None:
                continue
            items = self._decode(bytes(self._list[: end + 1]) + b"]")
            if items is not None:
                self._take(follows.start(1))
                return items
        return None

    def _take(self, at: int) -> None:
        """Remove the decoded items; at `at` stands the comma or the end of the list after them."""
        self.checksum = crc32(self._list[1 : at + 1], self.checksum)
        if self._list[at] == ord("]"):
            self._tail = self._list[at + 1 :]
            self._list.clear()
        else:
            del self._list[:at]
            self._list[0] = ord("[")


def items_start(head: bytes | bytearray) -> int | None:
    """Return the offset of the list `response.items`; None where it does not begin in `head`."""
    keys: list[bytes] = [b""]  # the key in each of the enclosing objects, outermost first
    text, at = b"", 0
    while token := _TOKEN.match(head, at):
        at = token.end()
        match token[1]:
            case b"[" if keys[1:] == [b'"response"', b'"items"']:
                return token.start(1)
            case b"{" | b"[":
                keys.append(b"")
            case b"}" | b"]":
                keys.pop()
                if not keys:
                    return None
            case b":":
                keys[-1] = text
            case other:
                text = bytes(other)
    return None
