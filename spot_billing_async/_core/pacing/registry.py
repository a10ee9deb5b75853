"""Limiters of a client, one for each credential and operation, shared by all of its views."""

from collections.abc import Callable

import msgspec

from spot_billing_async._core.pacing.abc import Limiter
from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S

_MAX_IDLE = 1_000  # limiters; a backend serves many tenants, with a new view for each request


class _RegistryEntry(msgspec.Struct):
    limiter: Limiter
    used_s: float


class LimiterRegistry:
    """Limiters by credential namespace and operation, created on first use.

    A limiter outlives the view that created it, with what it has learned of the tenant's quota.
    After the longest possible pause without use its state is of no use, and it is removed.

    Args:
        make: returns a new limiter for a credential's namespace and an operation id.
        clock: monotonic clock, in seconds.
    """

    def __init__(self, make: Callable[[str, str], Limiter], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._entries: dict[tuple[str, str], _RegistryEntry] = {}
        self._sweep_size = _MAX_IDLE

    def get_or_create(self, namespace: str, operation_id: str) -> Limiter:
        """Return the limiter of a credential's requests for an operation."""
        entry = self._entries.get((namespace, operation_id))
        if entry is None:
            entry = _RegistryEntry(self._make(namespace, operation_id), self._clock())
            self._entries[namespace, operation_id] = entry
            # The threshold doubles with the live entries, so a sweep costs O(1) per new limiter.
            if len(self._entries) > self._sweep_size:
                since_s = self._clock() - LONGEST_WAIT_S
                self._entries = {k: e for k, e in self._entries.items() if e.used_s >= since_s}
                self._sweep_size = max(_MAX_IDLE, 2 * len(self._entries))
        entry.used_s = self._clock()
        return entry.limiter

    def get(self, namespace: str, operation_id: str) -> Limiter | None:
        """Return the limiter of a credential's requests for an operation; None if not created."""
        entry = self._entries.get((namespace, operation_id))
        return None if entry is None else entry.limiter
