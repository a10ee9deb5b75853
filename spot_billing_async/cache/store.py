"""Where days are kept: the protocol of a store, and the one in memory.

A store knows keys and bytes alone. What a key stands for, and how long it is good, others decide.
"""

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self, runtime_checkable

from spot_billing_async.models.validation import check_count

_DEFAULT_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 400
"""What an entry takes beside its value: key, dict, tuples, heap. Measured with `tracemalloc`."""
_STALE_SHARE = 2  # of the heap's length to that of the entries, before it is made anew


class Value(NamedTuple):
    """What is kept for a key, and for how many seconds from now."""

    data: bytes
    ttl_s: float


class LookupResult(NamedTuple):
    """What looking for keys came to. Keys in neither are being fetched somewhere else.

    Attributes:
        found: what is there and good.
        claimed: keys that nobody has: they are for the one who looked to fetch, and then to
            `write` or to `release`.
    """

    found: Mapping[str, bytes]
    claimed: Collection[str]


@runtime_checkable
class Store(Protocol):
    """Keeps values by key for a while. None of its methods raises for a store that is out of order.

    It is entered before it is used, and left after.
    """

    async def __aenter__(self) -> object:
        """Make ready."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of everything."""
        ...

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is good and can be had without waiting."""
        ...

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """Look for keys, and claim those that nobody has and nobody is fetching."""
        ...

    async def set(self, values: Mapping[str, Value]) -> None:
        """Keep values; those of them that were claimed are not any more."""
        ...

    async def release(self, keys: Sequence[str]) -> None:
        """Claim keys no longer; those that were not claimed are left alone."""
        ...


class MemoryStore:
    """Keeps values in this process, bounded in bytes: what was least recently used goes first.

    What has expired is let go of before anything that is good. Its values outlive the client. It is
    for one event loop.

    Args:
        max_bytes: how much it holds, keys and the room of each entry included. 64 MiB by default.
        clock: seconds that only grow.

    Raises:
        ConfigError: max_bytes is no whole number from 1.
    """

    def __init__(
        self, max_bytes: int = _DEFAULT_BYTES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        check_count("max_bytes", max_bytes)
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._expiries: list[tuple[float, str]] = []
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def __len__(self) -> int:
        return len(self._entries)

    def get_local(self, keys: Sequence[str]) -> dict[str, bytes]:
        """What is good."""
        now_s = self._clock()
        found = {}
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                continue
            data, expires_at_s = entry
            if expires_at_s > now_s:
                self._entries.move_to_end(key)
                found[key] = data
            else:
                self._drop(key)
        return found

    async def get_or_claim(self, keys: Sequence[str]) -> LookupResult:
        """What is good; all else is claimed, as nobody else can be fetching it."""
        found = self.get_local(keys)
        return LookupResult(found, [key for key in keys if key not in found])

    async def set(self, values: Mapping[str, Value]) -> None:
        """Keep values, as far as there is room."""
        self.keep(values)

    def keep(self, values: Mapping[str, Value]) -> None:
        """Keep values, as far as there is room."""
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
        """Nothing: there are no claims."""

    def _make_room(self, now_s: float) -> None:
        while self.size_bytes > self._max_bytes:
            if not self._drop_expired(now_s):
                self._drop(next(iter(self._entries)))
        if len(self._expiries) > _STALE_SHARE * len(self._entries) + 1:
            self._expiries = [(at_s, key) for key, (_, at_s) in self._entries.items()]
            heapq.heapify(self._expiries)

    def _drop_expired(self, now_s: float) -> bool:
        """Whether there was anything that may have expired; it is looked at once."""
        if not self._expiries or self._expiries[0][0] > now_s:
            return False
        expires_at_s, key = heapq.heappop(self._expiries)
        if key in self._entries and self._entries[key][1] == expires_at_s:
            self._drop(key)
        return True

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size_bytes -= _size_bytes(key, entry[0])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size_bytes:,} of {self._max_bytes:,} bytes)"


def _size_bytes(key: str, data: bytes) -> int:
    return len(key) + len(data) + _ENTRY_BYTES
