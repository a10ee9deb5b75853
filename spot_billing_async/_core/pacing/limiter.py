"""Earliest start of the next request: pure decisions over plain state, on the caller's clock.

Theory. The server counts the requests of each organization x route x method in a sliding window: a
request is accepted while fewer than L were counted in the last W seconds. L is not published. W is
documented as 60 s and may be shorter. A request that comes too early is rejected and delays the
reset. The aim is to send at the moment a place becomes free. A limiter *admits* the requests of one
credential, route and method; the server *accepts* them.

*Quota readings.* Each response reports how much quota remained when its request was counted. The
order in which concurrent requests are counted is unknown, but the one counted last is among those
whose responses came after the newest request was sent (`number` identifies it). So the lowest of
these readings, less the requests still in flight, is certainly free, even if others use places.
Only other consumers' later requests can make it wrong: of a reading older than a tenth of a window
an eighth is used at once, and the rest after the next response.

*Own places.* This client's places become free again after W: certainly at `ended + W`, as the
server counted each request by the time of its response. Places that certainly expired after the
latest reading are added to it. For places that probably expired after it, a single request is sent
as a probe; where other consumers were seen recently only if there are several such places, as what
expired may be theirs. A probe is also sent at the reset, when any consumer's place becomes free.
After a rejected probe, because others were faster, the next one waits for long.

*Window length.* If nothing remains and the reset is r seconds away, W is r plus the age of the L-th
last of ours. Where others use places, the request before the last u of ours is out of the window
when u are used. A rejection proves that W is longer than assumed. Not every server counts in a
sliding window: after a rejection of a request that only an own place let start, own places are not
counted on for a while, and readings and resets alone decide.

*Resets* with decimals are honoured in full, and a little longer if that proved too early. Others
are rounded up: within the last second own places decide, until one of them is rejected.

*Rejections.* A rejection closes the limiter until the reset. Then one request is sent alone, and
the rest after it has been accepted. If no reset is reported, or one was wrong, the time since the
first rejection doubles with each attempt, up to an hour between two attempts. In the end that
exceeds any window.

*Without headers*, or with headers only when nothing remains, requests start while fewer than L of
ours are in the window. If L is not reported, the first rejection reveals it: as many as were
accepted within the window before it. Later rejections at most halve it. To have few requests in
flight at the first rejection, the number of requests sent grows exponentially. After a rejection as
many may be in flight as were accepted since. After a quiet period one request tries whether W is
shorter, and once W is precise a slightly higher L.
"""

from collections import deque
from math import inf, log

import msgspec

from spot_billing_async._core.pacing.window import Permit, ServerWindow
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit

LONGEST_WAIT_S = 3600.0
FIRST_REQUESTS = 10
"""Requests sent before the first response: few are rejected even if the limit is lower."""

_RAMP_GAP_S = 0.05 / log(5.0)  # divided by the request number: 10, then 50, then 250 every 0.05 s
_TIMER_LATENESS_S = 0.005
_FRESH_SHARE = 0.1  # of a window; other consumers may have invalidated an older reading
_STALE_PART = 8  # of an older reading, one part in this many is used at once
_MIN_FREE_BESIDE_OTHERS = 3  # fewer places that may be free are likely taken by others
_OTHERS_WINDOWS = 2  # for which other consumers are assumed after they were seen
_FAILED_PROBE_WINDOWS = 16  # before the reset is probed again
_QUIET_WINDOWS = 3  # without a rejection, before an estimate is tested, ...
_FIRST_QUIET_WINDOWS = 10  # before the first test of a window that is whole seconds
_QUIET_REQUESTS = 100  # ... and at least as many requests, as a test may cost a rejection
_FIRST_PAUSE_SHARE = 0.1  # of a known window: the first pause after a rejection without a reset
_SHORTEST_SLACK_S = 0.01  # waited after a reset with decimals that proved too early; doubles ...
_LONGEST_SLACK_S = 0.1  # ... up to one decimal
_RAISE_SHARE = 0.02
_MAX_DOUBLINGS = 20
_MIN_HISTORY = 100


class _QuotaReading(msgspec.Struct, array_like=True):
    """Remaining quota as reported by one response."""

    read_s: float  # time of the response
    remaining: int  # reported, less later requests that may be counted but had no response
    surely_expired: int  # `ServerWindow.surely_expired` at that time
    likely_expired: int  # `ServerWindow.likely_expired` at that time


class RouteLimiter(msgspec.Struct, eq=False, array_like=True, weakref=True):
    """Limiter of the requests of one credential, route and method.

    Its state is plain values, and its decisions depend only on events and their times.
    """

    first_pause_s: float = 0.25  # first pause after a rejection that does not say how long to wait
    _window: ServerWindow = msgspec.field(default_factory=ServerWindow)
    _limit: int | None = None
    has_quota_headers: bool = False
    # In ascending order of remaining quota.
    _readings: deque[_QuotaReading] = msgspec.field(default_factory=deque)
    _newest_number: int = 0  # highest number of a request with a quota reading
    _ramp_next_s: float = -inf  # earliest next request to a server without a known limit
    _last_response_s: float = -inf
    _sent_since_reading: int = 0
    _alone_from_s: float = -inf  # until then other consumers are assumed
    _exhausted_s: float = -inf  # time of the latest response that reported no remaining quota, ...
    _reset_s: float = inf  # ... and the reset that it reported
    _no_probe_before_s: float = -inf  # the reset is not probed earlier
    _probe_number: int = 0  # number of the request that probes a reset
    _closed_until_s: float = -inf
    _rejections: int = 0  # since a request was accepted; those of concurrent ones count as one
    _rejected_s: float = 0.0  # time of the first of them
    _rejected_number: int = 0  # of the request admitted last at the time of the latest rejection
    _raise_at_s: float = inf  # time at which a guessed limit is raised
    _is_reported: bool = False  # whether the limit is the server's own
    _distrusted_until_s: float = -inf  # until then own places are not counted on
    _predicted_number: int = 0  # of the latest request that only an own place let start
    _tells_room: bool = False  # whether headers come also where quota remains
    _slack_s: float = 0.0  # by which resets with decimals were too early
    _burst: int = 1  # requests that may be in flight without headers; one after a rejection

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit, reported or guessed; None if no limit has been observed."""
        return RateLimit(self._limit, self.window_s) if self._limit else None

    @property
    def window_s(self) -> float:
        """Estimated length of the server's window."""
        return self._window.length.value_s

    def wait_s(self, now_s: float) -> float:
        """Return 0.0 if a request may start now, else the seconds until the next check.

        Infinite if only a response can change the answer; then a request is in flight.
        """
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        if self._room(now_s) >= 1:
            return 0.0
        changes = [self._window.next_free_s]
        if self._limit is None and self._last_response_s > -inf:
            changes.append(self._ramp_next_s)
        elif not self._window.in_flight:
            changes.append(self._probe_s if self.has_quota_headers else self._trial_s)
        later = [change_s for change_s in changes if change_s > now_s]
        return min(later) - now_s if later else inf

    def min_wait_s(self, now_s: float) -> float:
        """Return a lower bound of the seconds until a request may start, as the server reported."""
        return max(0.0, self._closed_until_s - now_s)

    def start(self, now_s: float) -> Permit:
        """Admit a request; call only if `wait_s` is 0."""
        window = self._window
        is_probe = self.has_quota_headers and not window.in_flight and self._surely_free(now_s) < 1
        self._sent_since_reading += 1
        if self.has_quota_headers and self._readings[0].remaining <= window.in_flight:
            self._predicted_number = window.last_number + 1
        permit = window.start(now_s)
        if self._limit is None:
            if permit.number < FIRST_REQUESTS:
                self._ramp_next_s = now_s
            else:
                # Requests missed while this process was busy are not sent in a burst.
                earliest_s = max(self._ramp_next_s, now_s - _TIMER_LATENESS_S)
                self._ramp_next_s = earliest_s + _RAMP_GAP_S / permit.number
        permit.has_quota_headers = self.has_quota_headers
        if is_probe:
            self._probe_number = permit.number
        return permit

    def on_accepted(self) -> None:
        """Do nothing: this limiter shares its quota with no other process."""

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """Record a request without a response; `sent` if the server may have counted it."""
        if sent:
            self._window.end(permit, now_s)
            for reading in self._readings:
                reading.remaining -= 1
        else:
            self._window.in_flight -= 1

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """Record a response other than a rate-limit rejection."""
        self._window.end(permit, now_s, is_accepted=True)
        self._burst += 1
        self._observe_quota(permit, now_s, quota)
        if self._limit is not None:
            if not self.has_quota_headers:
                self._raise_guess(permit, now_s, self._limit)
            elif quota.remaining == 0:
                self._measure(permit, now_s, quota.reset_s)
        if permit.number > self._rejected_number:
            self._rejections = 0

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """Record a rejection by the server's rate limit.

        The latest reset applies, up to an hour: a client may outlive a proxy's retry hint.
        """
        self._window.end(permit, now_s)
        self._observe_quota(permit, now_s, quota)
        # Rejections of requests sent before the first rejection arrived count as one event.
        if permit.number > self._rejected_number:
            self._rejected_number = self._window.last_number
            self._rejections += 1
            if self._rejections == 1:
                self._rejected_s = now_s
                if not (self.has_quota_headers or self._is_reported):
                    self._lower_guess(now_s)
            self._correct(permit, now_s, quota.reset_s)
            self._measure(permit, now_s, min(retry_after_s or quota.reset_s or 0, LONGEST_WAIT_S))
        pause_s, first_s = max(retry_after_s or 0.0, quota.reset_s or 0.0), self.first_pause_s
        oldest = self._window.last_accepted(self._limit or 1, self._window.accepted)
        if not pause_s and self._window.length.is_known and oldest is not None:
            pause_s = max(0.0, oldest.ended_s + self.window_s - now_s)
            first_s = max(first_s, self.window_s * _FIRST_PAUSE_SHARE)
        if not pause_s or self._rejections > 1:  # a reset that was wrong once is not trusted alone
            grown_s = first_s * 2.0 ** min(self._rejections - 1, _MAX_DOUBLINGS)
            pause_s = max(pause_s, self._rejected_s + grown_s - now_s)
        self._closed_until_s = max(self._closed_until_s, now_s + min(pause_s, LONGEST_WAIT_S))

    def _room(self, now_s: float) -> int:
        """Return the number of requests that may start now."""
        window = self._window
        if self._rejections:
            return 1 - window.in_flight
        if self._last_response_s == -inf:
            return FIRST_REQUESTS - window.in_flight
        if self._limit is None:
            return int(now_s >= self._ramp_next_s)
        if not self.has_quota_headers:
            room = min(self._limit - window.occupied(now_s), self._burst - window.in_flight)
            return max(room, int(now_s >= self._trial_s))
        room = self._surely_free(now_s)
        if window.in_flight:
            is_fresh = now_s - self._readings[-1].read_s <= _FRESH_SHARE * self.window_s
            return room if is_fresh or self._sent_since_reading * _STALE_PART < room else 0
        return max(room, int(self._may_probe(now_s)))

    def _surely_free(self, now_s: float) -> int:
        """Return the places free by the quota readings and by what of ours expired since."""
        window = self._window
        window.occupied(now_s)
        if now_s < self._distrusted_until_s:
            return self._readings[0].remaining - window.in_flight
        # There are few readings, so a list costs half as much as a generator.
        free = min([reading.remaining - reading.surely_expired for reading in self._readings])
        return free + window.surely_expired - window.in_flight

    def _may_probe(self, now_s: float) -> bool:
        """Return True if one request may start although no place is certainly free."""
        if now_s >= self._probe_s:
            return True
        if now_s < self._distrusted_until_s:
            return False
        free = min(reading.remaining - reading.likely_expired for reading in self._readings)
        has_room = self._window.occupied(now_s) < (self._limit or 0)
        required = 1 if now_s >= self._alone_from_s else _MIN_FREE_BESIDE_OTHERS
        return has_room and free + self._window.likely_expired >= required

    @property
    def _probe_s(self) -> float:
        """Time to probe the reset; at the latest when every known request has expired."""
        return min(
            max(self._reset_s, self._no_probe_before_s),
            max(self._last_response_s, self._exhausted_s) + self.window_s,
        )

    @property
    def _trial_s(self) -> float:
        """Time to try without headers whether the window is shorter: soon if not whole seconds."""
        ended, limit = self._window.ended, self._limit
        if limit is None or self._window.in_flight or len(ended) < limit:
            return inf
        trial_s = ended[-limit].ended_s + self._window.length.trial_s
        return trial_s if self.window_s % 1 else max(self._raise_at_s, trial_s)

    def _observe_quota(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """Take a quota reading from a response."""
        window = self._window
        # Before the time of this response is set: expired places are compared with the previous.
        occupied = window.occupied(now_s)
        self._last_response_s = window.observed_s = now_s
        if quota.remaining != 0:
            self._tells_room = quota.remaining is not None
        if quota.remaining is None or (quota.limit is None and not self.has_quota_headers):
            # The server stopped sending headers, or sends them only when nothing remains.
            if self._readings and (
                now_s > self._readings[-1].read_s + self.window_s
                or (not self._readings[0].remaining and permit.sent_s > self._readings[0].read_s)
            ):
                self.has_quota_headers = False
                self._readings.clear()
            return
        self.has_quota_headers, self._limit = True, quota.limit or self._limit
        self._is_reported = self._is_reported or quota.limit is not None
        limit = self._limit or 0
        window.history_size = max(_MIN_HISTORY, 2 * limit)
        self._sent_since_reading = 0
        remaining = min(quota.remaining, limit)
        # More places are used than can be of this client.
        if limit - remaining > occupied + window.possibly_expired - permit.expired_before:
            self._alone_from_s = now_s + _OTHERS_WINDOWS * self.window_s
        if now_s < self._alone_from_s:
            self._bound(permit, now_s, limit - remaining + 1)
        while self._readings and self._readings[-1].remaining >= remaining:
            self._readings.pop()
        self._readings.append(
            _QuotaReading(now_s, remaining, window.surely_expired, window.likely_expired)
        )
        if permit.number > self._newest_number:
            self._newest_number = permit.number
            while self._readings[0].read_s < permit.sent_s:
                self._readings.popleft()

    def _correct(self, permit: Permit, now_s: float, reset_s: float | None) -> None:
        """Correct the estimate that let a request start which was rejected."""
        length, ended, limit = self._window.length, self._window.ended, self._limit or 1
        length.proofs += self._rejections == 1
        quiet_s = max(_QUIET_WINDOWS, _QUIET_REQUESTS / limit) * length.proofs * self.window_s
        self._raise_at_s = now_s + quiet_s
        self._burst, is_probe = 1, permit.number == self._probe_number
        if is_probe and length.is_known:
            self._no_probe_before_s = now_s + _FAILED_PROBE_WINDOWS * self.window_s
        if is_probe and permit.sent_s >= self._reset_s:
            if now_s >= self._alone_from_s or (reset_s or 0) < _LONGEST_SLACK_S:
                self._slack_s = min(max(_SHORTEST_SLACK_S, 2 * self._slack_s), _LONGEST_SLACK_S)
        elif permit.number <= self._predicted_number or permit.sent_s < self._reset_s:
            self._distrusted_until_s = now_s + quiet_s
        place = limit + 1 - self._window.in_flight
        oldest = self._window.last_accepted(limit, self._window.accepted)
        if len(ended) >= place:
            # If it had left the window, this request would have been accepted.
            length.at_least(permit.sent_s - ended[-place].ended_s if place > 0 else 0.0, now_s)
        elif not self.has_quota_headers and (limit == 1 or self._is_reported):  # not a guess
            if self._rejections > 1 and oldest is not None:
                length.at_least(permit.sent_s - oldest.ended_s, now_s)
            elif length.is_known:
                length.at_least(self.window_s, now_s)

    def _measure(self, permit: Permit, now_s: float, reset_s: float | None) -> None:
        """Measure the window and the next reset by a response without remaining quota."""
        window, limit = self._window, self._limit or 1
        self._exhausted_s = now_s
        self._reset_s = now_s + (reset_s or self.first_pause_s)
        if not reset_s:
            return
        is_rounded = reset_s % 1 == 0
        if not is_rounded:
            reset_s += self._slack_s
            self._reset_s += self._slack_s
        is_early = is_rounded and now_s >= self._distrusted_until_s
        until_s = permit.sent_s + reset_s - 1 if is_early else self._reset_s
        self._closed_until_s = max(self._closed_until_s, until_s)
        # The place that becomes free is that of the `limit`-th last request. Those in flight were
        # counted before this one, or will be refused. Refused ones may count: hence two bounds.
        place, low_s, high_s = limit - window.in_flight, reset_s, self._reset_s - permit.sent_s
        if place > 0:
            if len(window.ended) >= place:
                low_s = self._reset_s - window.ended[-place].ended_s
            oldest = window.last_accepted(place, window.accepted)
            high_s = inf if oldest is None else self._reset_s - oldest.ended_s
            if not self._tells_room and len(window.ended) < place and high_s < inf:
                low_s = max(low_s, (window.length.value_s + high_s) / 2)
        if high_s < inf and (self._is_reported or not window.in_flight):
            window.length.between(low_s - is_rounded, high_s, now_s)

    def _bound(self, permit: Permit, now_s: float, count: int) -> None:
        """Bound the window: the `count`-th last of ours before a request has left it."""
        length = self._window.length
        oldest = self._window.last_accepted(count, permit.accepted_before)
        if oldest is not None and (self._rejections or now_s - oldest.sent_s < length.value_s):
            if not length.is_known:
                self._raise_at_s = now_s + _FIRST_QUIET_WINDOWS * (now_s - oldest.sent_s)
            length.between(0.0, now_s - oldest.sent_s, now_s)

    def _lower_guess(self, now_s: float) -> None:
        """Guess the limit without headers: what was accepted in the window before a rejection."""
        window, known = self._window, self._limit
        window.occupied(now_s)  # drops what has expired
        seen = sum(ended.is_accepted for ended in window.ended)
        self._limit = seen if known is None else max(min(seen, known), known // 2)
        window.history_size = max(_MIN_HISTORY, 2 * self._limit)

    def _raise_guess(self, permit: Permit, now_s: float, limit: int) -> None:
        """Update window and limit by an accepted request, without quota headers."""
        window = self._window
        if self._rejections and permit.number <= self._rejected_number:
            if not self._is_reported:
                self._limit = limit + 1  # accepted before that rejection
            return
        if not limit:  # the refusal came before all others, and told nothing of the limit
            self._limit = None
            return
        # This request was accepted, so the last `limit` before it cannot all be in the window.
        self._bound(permit, now_s, limit)
        if now_s >= self._raise_at_s and window.length.trial_s == self.window_s:
            if self._is_reported:
                window.length.shortest_s *= 1 - _RAISE_SHARE
            else:
                self._limit = limit + max(1, int(limit * _RAISE_SHARE))
            self._raise_at_s = now_s + self.window_s
