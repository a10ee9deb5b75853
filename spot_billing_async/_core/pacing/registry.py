"""The gates of a client: one for each credential and operation, whichever view of it asks."""

from collections.abc import Callable

import msgspec

from spot_billing_async._core.pacing.abc import Limiter
from spot_billing_async._core.pacing.limiter import LONGEST_WAIT_S

_MOST_IDLE = 1_000  # gates; a backend meets tenants without number, and makes a view of each again


class _Kept(msgspec.Struct):
    limiter: Limiter
    used_s: float


class LimiterRegistry:
    """Finds the gate of a request, and makes it where there is none.

    What was learned of a tenant's quota outlives the view that learned it. A gate that nobody has
    used for as long as one can be closed knows nothing any more, and is let go of.

    Args:
        make: a new gate, of a credential's space and an operation's id.
        clock: seconds that only grow.
    """

    def __init__(self, make: Callable[[str, str], Limiter], clock: Callable[[], float]) -> None:
        self._make = make
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._sweeps_at = _MOST_IDLE

    def get_or_create(self, namespace: str, operation_id: str) -> Limiter:
        """The gate of a credential's requests for an operation."""
        kept = self._kept.get((namespace, operation_id))
        if kept is None:
            kept = _Kept(self._make(namespace, operation_id), self._clock())
            self._kept[namespace, operation_id] = kept
            self._sweep()
        kept.used_s = self._clock()
        return kept.limiter

    def get(self, namespace: str, operation_id: str) -> Limiter | None:
        """The same, where there is one."""
        kept = self._kept.get((namespace, operation_id))
        return None if kept is None else kept.limiter

    def _sweep(self) -> None:
        if len(self._kept) <= self._sweeps_at:
            return
        since_s = self._clock() - LONGEST_WAIT_S
        self._kept = {key: kept for key, kept in self._kept.items() if kept.used_s >= since_s}
        self._sweeps_at = max(_MOST_IDLE, 2 * len(self._kept))
