"""Outages of the API: a state machine for each scope, which pulls ask before they send.

Scopes are the origin (no complete response), an operation with a credential (5xx), and a credential
(its token provider fails). A scope that works has no machine.

up -> suspected: five different queries failed, with no success between them. Pulls hold their
    requests back and probe: one request at a time, each another query.
suspected -> up: a probe succeeded. The failed queries were to blame, not the API.
suspected -> away: two probes failed. Further ones follow after growing, random pauses.
away -> reopening: a probe succeeded. Two slices may run, and one more after each success.
reopening -> up: as many slices may run as requests may be in flight.
reopening -> suspected: as many different queries failed as may run, at most five.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Literal

from spot_billing_async._core.aio.recent import RecentlyUsed
from spot_billing_async.errors import ApiError, SpotBillingError
from spot_billing_async.telemetry import AvailabilityChanged, Hook, OutageScope, emit

Scope = tuple[OutageScope, str | None, object]
"""Part of the API that may be away alone: its kind, an operationId, and a credential's key."""

ORIGIN: Scope = ("connection", None, None)
"""Scope of failures without a complete response."""

_SUSPICION = 5  # different queries that fail with no success between them
_PROBES = 2  # failed ones that confirm an outage
_FIRST_ROOM = 2  # slices that may run when an outage ends
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_PAUSE_GROWTH = 1.3  # so the API is noticed to be back within a third of the time it was away
_LONGEST_RETRY_AFTER_S = 60.0
_MAX_SCOPES = 1_000


class Outage:
    """State machine of one scope; times are readings of one monotonic clock."""

    def __init__(self, scope: Scope, full: int, chance: Callable[[], float]) -> None:
        self.scope: Scope = scope
        self.state: Literal["up", "suspected", "away", "reopening"] = "up"
        self.failures: int = 0  # since the latest success
        self.error: str = ""  # class of the latest one
        self.since_s: float = 0.0  # when the first one came since it was up
        self.is_probing: bool = False
        self.probe_at_s: float = 0.0  # when the next probe is due
        self._full, self._chance = full, chance
        self._failed: set[str] = set()  # queries, since the latest success
        self._changed_s = 0.0  # when pulls began to hold back, or to send again
        self.failed_probes: int = 0
        self._pause_s = _FIRST_PAUSE_S
        self._retry_after_s = 0.0  # in the answer to the latest probe
        self._room = 0  # slices that may run while it is reopening, ...
        self.running: int = 0  # ... and that do

    @property
    def is_closed(self) -> bool:
        """True while pulls hold their requests back."""
        return self.state in {"suspected", "away"}

    def on_failure(self, query: str, error: SpotBillingError, sent_s: float, now_s: float) -> None:
        """Record the failure of a request that was sent at `sent_s`."""
        self.error = type(error).__name__
        self._retry_after_s = (isinstance(error, ApiError) and error.retry_after_s) or 0.0
        if self.is_closed or sent_s < self._changed_s:
            return
        if self.state == "up" and not self.failures:
            self.since_s = now_s
        self.failures += 1
        self._failed.add(query)
        if len(self._failed) >= min(_SUSPICION, self._room or _SUSPICION):
            self.suspect(now_s)

    def suspect(self, now_s: float) -> None:
        """Suspect an outage, unless one is already."""
        if not self.is_closed:
            self.state, self.failed_probes = "suspected", 0
            self._changed_s = self.probe_at_s = now_s

    def on_success(self, sent_s: float, now_s: float) -> None:
        """Record the success of a request that was sent at `sent_s`.

        While pulls hold back, only a later request shows that the API is back.
        """
        if self.is_closed and sent_s < self._changed_s:
            return
        self._failed.clear()
        self.failures = 0
        if self.state == "reopening":
            self._room += sent_s >= self._changed_s
        elif self.is_closed:
            is_refuted = self.state == "suspected" and not self._room
            self._room = self._full if is_refuted else max(_FIRST_ROOM, self._room // 2)
            self._changed_s = now_s
        self.state = "up" if not 0 < self._room < self._full else "reopening"

    def start(self) -> bool:
        """Count a slice in `running`, if another one may run while the API is reopening."""
        is_allowed = self.state == "reopening" and self.running < self._room
        self.running += is_allowed
        return is_allowed

    def start_probe(self, now_s: float) -> bool:
        """Start a probe, if one is due and none is running; `end_probe` it then."""
        if not self.is_closed or self.is_probing or now_s < self.probe_at_s:
            return False
        self.is_probing, self._retry_after_s = True, 0.0
        return True

    def end_probe(self, now_s: float) -> None:
        """End a probe; unless it has succeeded, the next one follows after a pause."""
        self.is_probing = False
        if self.is_closed:
            self.failed_probes += 1
            wait_s = self._pause_s * (0.5 + self._chance() / 2)
            if self.failed_probes >= _PROBES:
                self.state = "away"
                wait_s = max(wait_s, min(self._retry_after_s, _LONGEST_RETRY_AFTER_S))
            self._pause_s = min(self._pause_s * _PAUSE_GROWTH, _LONGEST_PAUSE_S)
            self.probe_at_s = now_s + wait_s


class Outages:
    """Outages of a client: the scopes that are not up, or whose latest request failed."""

    def __init__(self, clock: Callable[[], float], hook: Hook | None, full: int) -> None:
        self.by_scope: RecentlyUsed[Scope, Outage] = RecentlyUsed(_MAX_SCOPES)
        self._clock, self._hook, self._full = clock, hook, full
        self._changed = asyncio.Event()

    def worst(self, scopes: Iterable[Scope]) -> Outage | None:
        """Return the outage of some scopes, if any of them failed since its latest success."""
        found = [self.by_scope[scope] for scope in scopes if scope in self.by_scope]
        order = ["up", "reopening", "suspected", "away"]
        return max(found, key=lambda each: (order.index(each.state), each.failures), default=None)

    def is_closed(self, scopes: Iterable[Scope]) -> bool:
        """Return whether pulls that need these scopes hold their requests back."""
        outage = self.worst(scopes)
        return outage is not None and outage.is_closed

    def on_failure(self, scope: Scope, query: str, error: SpotBillingError, sent_s: float) -> None:
        """Record the failure of a request in a scope."""
        outage = self.by_scope.get(scope) or Outage(scope, self._full, random.random)
        self.by_scope.use(scope, outage)
        outage.on_failure(query, error, sent_s, self._clock())
        self.notify()

    def on_success(self, scope: Scope, sent_s: float) -> None:
        """Record the success of a request in a scope."""
        if (outage := self.by_scope.get(scope)) is not None:
            was_away = outage.state == "away"
            outage.on_success(sent_s, self._clock())
            if outage.state == "up":
                del self.by_scope[scope]
            if was_away and not outage.is_closed:
                self._report(outage, None)
            self.notify()

    def end_probe(self, outage: Outage) -> None:
        """End a probe, and report when the next one follows."""
        outage.end_probe(self._clock())
        if outage.state == "away":
            self._report(outage, outage.probe_at_s - self._clock())
        self.notify()

    def _report(self, outage: Outage, next_try_s: float | None) -> None:
        if self._hook is not None:
            part, away_s = outage.scope[:2], self._clock() - outage.since_s
            emit(self._hook, AvailabilityChanged(*part, outage.error, away_s, next_try_s))

    def notify(self) -> None:
        """Wake what waits."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, timeout_s: float) -> None:
        """Wait until a scope has changed, or the time is up; for a minute at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, 60.0)):
                await self._changed.wait()

    async def back_off(self, until_s: float, scopes: tuple[Scope, ...]) -> None:
        """Wait until a time, or until an outage is suspected in one of some scopes.

        If that is refuted, what waited is at fault, and is sent again at once.
        """
        while (left_s := until_s - self._clock()) > 0 and not self.is_closed(scopes):
            await self.wait(left_s)
