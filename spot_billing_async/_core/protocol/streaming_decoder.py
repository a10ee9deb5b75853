"""Large bodies, read a bounded piece at a time, so that nothing holds up the event loop. Pure.

Decoding a body of a hundred megabytes at once takes a third of a second. So its items are decoded
some at a time, as the bytes come by. They are cut behind the end of an object that a comma or the
end of the list follows; that may as well be inside of a string or of an item, but then what is
before the cut is no whole list, and does not decode. So JSON's rules are msgspec's affair alone.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar
from zlib import crc32

T = TypeVar("T")

LARGE_BYTES = 512 * 1024
"""A body up to this size is decoded at once, in a millisecond or two."""

_CUT_BYTES = 32 * 1024  # a step of a fifth of a millisecond
_MOST_HEAD_BYTES = 64 * 1024
_MOST_TRIES = 20  # to find an end that is an item's, before more is waited for
_MOST_ENDS = 1000
_FREED_AT_ONCE = 2_000

_TOKEN = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+)(?=.)', re.DOTALL)
_FOLLOWS = re.compile(rb"\s*([,\]])")


class LargeList(list[T]):
    """A list that lets go of its items a few at a time while an event loop runs.

    To free a million of them takes a tenth of a second, at whatever moment the last one who holds
    the list lets go of it.
    """

    def __del__(self) -> None:
        if len(self) <= _FREED_AT_ONCE:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # nobody is held up
            return
        loop.call_soon(_free, loop, self)


def _free(loop: asyncio.AbstractEventLoop, items: list[Any]) -> None:
    del items[-_FREED_AT_ONCE:]
    if items:
        loop.call_soon(_free, loop, items)


class StreamingDecoder(Generic[T]):
    """Takes the pieces of a body, and gives its items.

    Args:
        decode: makes items of a JSON list; None where it is none.
        cut_bytes: about so much is decoded at once.

    Attributes:
        checksum: of the list's text so far, wherever it was cut.
    """

    def __init__(
        self, decode: Callable[[bytes], list[T] | None], cut_bytes: int = _CUT_BYTES
    ) -> None:
        self._decode = decode
        self.checksum = 0
        self._cut_bytes = self._due_bytes = cut_bytes
        self._head: bytes | None = None
        self._list = bytearray()  # from its bracket on; until its begin is found, all of the body
        self._tail: bytearray | None = None  # once the list has ended

    def feed(self, piece: bytes) -> Iterator[list[T]]:
        """Take a piece; the items that are complete by now, as far as they are worth a step."""
        if self._tail is not None:
            self._tail += piece
            return
        self._list += piece
        if not self._has_begun():
            return
        while len(self._list) >= self._due_bytes:
            items = self._cut()
            if items is None:
                self._due_bytes = 2 * len(self._list)
                return
            self._due_bytes = self._cut_bytes
            yield items

    def end(self) -> tuple[list[T], bytes]:
        """The last items, and the body without any: its list is empty.

        Where no list of items was found, or where its end does not come, the body as it is.
        """
        if self._head is None:
            return [], bytes(self._list)
        items: list[T] = []
        if self._tail is None:
            items = self._end_list()
        if self._tail is None:
            return items, self._head + self._list
        return items, self._head + b"[]" + self._tail

    def _has_begun(self) -> bool:
        """Whether the list has; if not, it is looked for."""
        if self._head is None:
            start = items_start(self._list[:_MOST_HEAD_BYTES])
            if start is not None:
                self._head = bytes(self._list[:start])
                del self._list[:start]
        return self._head is not None

    def _cut(self) -> list[T] | None:
        """Take out the items before the last cut that is one; None where there is none yet."""
        end = self._cut_bytes
        for _ in range(_MOST_TRIES):
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
        """Go on from what follows the items: a comma, or the end of the list."""
        self.checksum = crc32(self._list[1 : at + 1], self.checksum)
        if self._list[at] == ord("]"):
            self._tail = self._list[at + 1 :]
            self._list.clear()
        else:
            del self._list[:at]
            self._list[0] = ord("[")

    def _end_list(self) -> list[T]:
        """Take out the rest of the list, whatever its items are, if it ends."""
        for end in islice(_places(self._list, b"]"), _MOST_ENDS):
            items = self._decode(bytes(self._list[: end + 1]))
            if items is not None:
                self._take(end)
                return items
        return []


def items_start(head: bytes | bytearray) -> int | None:
    """Where the list of `response.items` begins; None where it does not, or not as far as here."""
    keys: list[bytes] = [b""]  # of the objects that one is in
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


def _places(where: bytearray, what: bytes) -> Iterator[int]:
    at = where.find(what)
    while at >= 0:
        yield at
        at = where.find(what, at + 1)
