"""Stores of cached days: the protocol, and the implementation in memory.

A store handles keys and bytes only. The meaning of a key and the lifetime of its value are decided
by its caller.
"""

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import NamedTuple, Protocol, Self, runtime_checkable

from spot_billing_async.models.validation import check_count

_DEFAULT_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 400
"""Memory of an entry beside its value: key, dict, tuples, heap. Measured with `tracemalloc`."""
_MAX_HEAP_RATIO = 2
"""Heap entries per stored entry above which the heap, which keeps stale entries, is rebuilt."""


class Value(NamedTuple):
    """Data of a key, and its lifetime in seconds from now."""

    data: bytes
    ttl_s: float


class LookupResult(NamedTuple):
    """Result of `Store.get_or_claim`. Keys in neither attribute are claimed by another process.

    Attributes:
        found: unexpired data by key.
        claimed: keys without data that the caller has claimed: it has to fetch them, and then to
            `set` or `release` them.
    """

    found: Mapping[str, bytes]
    claimed: Collection[str]


@runtime_checkable
class Store(AbstractAsyncContextManager[object], Protocol):
    """Store of values with a lifetime, used as a context manager.

    Its methods do not raise when the storage behind it fails: the cache then works without it.
    """

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the unexpired data that is available without waiting, by key."""

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Return the unexpired data of keys, and claim those without data that are not claimed."""

    async def set(self, values: Mapping[str, Value]) -> None:
        """Store values, and release the claims of their keys."""

    async def release(self, keys: Sequence[str]) -> None:
        """Release the caller's claims; other keys are ignored."""


class MemoryStore:
    """Store in the memory of this process, bounded in bytes.

    When it is full, expired values are dropped first, then the least recently used ones. Its values
    outlive the client. It is not thread-safe: use it in one event loop.

    Args:
        max_bytes: maximum size, including the keys and 400 bytes per entry. Default: 64 MiB.
        clock: monotonic clock, in seconds.

    Attributes:
        size_bytes: present size, counted in the same way.
    """

    def __init__(
        self, max_bytes: int = _DEFAULT_BYTES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        check_count("max_bytes", max_bytes)
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._expiries: list[tuple[float, str]] = []
        self.size_bytes: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        return len(self._entries)

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """Return the unexpired data of keys; reading counts as use."""
        now_s = self._clock()
        found = {}
        for key in keys:
            data, expires_at_s = self._entries.get(key, (b"", -inf))
            if expires_at_s > now_s:
                self._entries.move_to_end(key)
                found[key] = data
            else:
                self._drop(key)
        return found

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Return unexpired data and claim the other keys, as no other process uses this store."""
        found = self.get_local(keys)
        return LookupResult(found, [key for key in keys if key not in found])

    async def set(self, values: Mapping[str, Value]) -> None:
        """Store values; a value larger than the whole store is not kept."""
        self.keep(values)

    def keep(self, values: Mapping[str, Value]) -> None:
        """Store values without waiting; otherwise like `set`."""
        now_s = self._clock()
        for key, (data, ttl_s) in values.items():
            self._drop(key)
            if _size_bytes(key, data) > self._max_bytes:
                continue
            self._entries[key] = data, now_s + ttl_s
            self.size_bytes += _size_bytes(key, data)
            heapq.heappush(self._expiries, (now_s + ttl_s, key))
        self._make_room(now_s)

    async def release(self, keys: Sequence[str]) -> None:
        """Do nothing: this store keeps no claims."""

    def _make_room(self, now_s: float) -> None:
        while self.size_bytes > self._max_bytes:
            if self._expiries and self._expiries[0][0] <= now_s:
                expires_at_s, key = heapq.heappop(self._expiries)
                # The key may have been dropped, or stored again with another lifetime.
                if key in self._entries and self._entries[key][1] == expires_at_s:
                    self._drop(key)
            else:
                self._drop(next(iter(self._entries)))
        if len(self._expiries) > _MAX_HEAP_RATIO * len(self._entries) + 1:
            self._expiries = [(at_s, key) for key, (_, at_s) in self._entries.items()]
            heapq.heapify(self._expiries)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= _size_bytes(key, entry[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size_bytes:,} of {self._max_bytes:,} bytes)"


def _size_bytes(key: str, data: bytes) -> int:
    return len(key) + len(data) + _ENTRY_BYTES
