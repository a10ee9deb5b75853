"""What was read from the database, remembered until something is written."""

import threading
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

_MOST_ROWS = 200_000
"""Of all that is remembered; at some 400 bytes a row that is 80 MB."""


class Known(NamedTuple):
    """A result, and the epoch in which it was read."""

    epoch: int
    rows: Sequence[Any] | None


class Memory:
    """Results by question, for readers and one writer on threads of their own.

    Every change of the database begins a new epoch as it starts to be seen and another when it is
    seen by all; the epochs in between are odd. A result counts only within the even epoch in which
    its reading began: so what was read while something changed is never taken for what is there.
    """

    def __init__(self) -> None:
        self.epoch = 0
        self._known: dict[Hashable, Known] = {}
        self._rows = 0
        self._lock = threading.Lock()

    def recall(self, question: Hashable) -> Known | None:
        """The result, if it is known and still holds."""
        known = self._known.get(question)
        return known if known is not None and known.epoch == self.epoch else None

    def keep(self, question: Hashable, known: Known) -> None:
        """Remember a result that nobody will change; when there are too many rows, start anew."""
        size = len(known.rows or ()) + 1
        with self._lock:
            if known.epoch != self.epoch or known.epoch % 2:
                return
            if self._rows + size > _MOST_ROWS:
                self._forget()
            self._known[question] = known
            self._rows += size

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nothing holds of what is read while this block lasts, or was read before."""
        self._next_epoch()
        try:
            yield
        finally:
            self._next_epoch()

    def _next_epoch(self) -> None:
        with self._lock:
            self.epoch += 1
            self._forget()

    def _forget(self) -> None:
        self._known = {}
        self._rows = 0
