"""Cache of database results, valid until the next write."""

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

_MAX_ROWS = 200_000
"""Rows of all cached results together: about 80 MB at 400 bytes per row."""


class CachedResult(NamedTuple):
    """Result of a query, with the epoch in which it was read."""

    epoch: int
    rows: Sequence[Any] | None


class QueryCache:
    """Cached results by query, for several reader threads and one writer thread.

    A commit starts a new epoch before it becomes visible, and another one after it is visible to
    all readers; the epochs in between are odd. A result is valid only in the even epoch in which
    its read began, so that a result read during a commit is never taken for the current state.
    """

    def __init__(self) -> None:
        self.epoch: int = 0
        self._results: dict[Hashable, CachedResult] = {}
        self._row_count = 0
        self._lock = threading.Lock()

    def get(self, query: Hashable) -> CachedResult | None:
        """Return the result of a query if it is cached and still valid."""
        result = self._results.get(query)
        return result if result is not None and result.epoch == self.epoch else None

    def put(self, query: Hashable, result: CachedResult) -> None:
        """Cache a result, which must not be modified; clear the cache first if it is full."""
        size = len(result.rows or ()) + 1
        with self._lock:
            if result.epoch != self.epoch or result.epoch % 2:
                return
            if self._row_count + size > _MAX_ROWS:
                self._clear()
            self._results[query] = result
            self._row_count += size

    @contextmanager
    def invalidating(self) -> Iterator[None]:
        """Invalidate all results that are read before the end of the block."""
        self._next_epoch()
        try:
            yield
        finally:
            self._next_epoch()

    def _next_epoch(self) -> None:
        with self._lock:
            self.epoch += 1
            self._clear()

    def _clear(self) -> None:
        self._results = {}
        self._row_count = 0
