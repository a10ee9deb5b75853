"""When the next request may start: pure decisions over plain state, on the caller's clock.

The theory. The server counts the requests of each organization x route x method in a sliding
window: one passes while fewer than L were counted in the last W seconds. L is not published; W is
documented as 60 s, and may be shorter. A request that comes too early is refused, and delays the
reset. So the aim is to send at the very moment a place becomes free, and never before; each gate
works that out for one credential, route and method. It *admits* requests; the server lets them
*pass*.

*The word.* Each answer tells how much remained when its request was counted. Of requests that are
under way at once nobody knows in which order they are counted; but the one that was counted last
is among those whose answers came after the freshest request was sent (`number` tells which that
is). So the lowest of these words, less what is still under way, is surely free, whoever else takes
places. Only others that come later can make it wrong: of a word older than a tenth of a window
an eighth is used at once, and the rest when an answer is there.

*The mirror.* Places of ours become free again after W: surely at `ended + W`, as the server counted
each request by the time of its answer. Those that surely left after the last word are added to it.
Of those that are likely to have left after it, one request goes and asks; where others were seen
lately only of several, as what left may be theirs then. It also asks at the reset, when somebody's
place becomes free; who asks there in vain, because others were faster, waits long before the next.

*The window.* What passes bounds W from above: of u places taken, the request before the last u of
ours is out of the window; and where nothing remains and the reset is r seconds away, the window is
at most r and the age of the L-th last of ours long. Refusals bound it from below.

*Refusals.* One closes the gate for all until the reset. Then one request goes ahead alone; the rest
follows when it has passed. Where no reset is told, the time since the first refusal doubles with
each try, up to an hour between two: in the end that is longer than the window, whatever it is, in
which even a refused try may count.

*Without headers* the first refusal tells L: as many as passed within the window until then; later
ones at most halve it. To meet the first with few requests under way, the number of those sent grows
exponentially in time, from a handful at the start. After quiet times L is tried a little higher.
"""

from collections import deque
from math import ceil, inf, log

import msgspec

from spot_billing_async._core.pacing.window import Permit, ServerWindow, WindowLength
from spot_billing_async._core.protocol.rate_limit import Quota, RateLimit

LONGEST_WAIT_S = 3600.0
FIRST_REQUESTS = 10
"""Sent before anything is known of a server: few are refused where even they are too many."""

_GROWTH_GAP_S = 0.05 / log(5.0)  # over the number of the request: in 0.05 s 10, 50, 250 were sent
_LATE_S = 0.005  # that a timer may be
_FRESH_SHARE = 0.1  # of a window; others may have overtaken an older word
_STALE_PART = 8  # of the room by an older word, one part goes at once
_LEAST_BESIDE_OTHERS = 3  # places that may be free: one that others have is asked for in vain
_OTHERS_WINDOWS = 2  # that others are reckoned with after they were seen
_VAIN_WINDOWS = 16  # after a vain try, before others' resets are tried again
_QUIET_WINDOWS = 10  # without a refusal; then a limit that was guessed is tried a little higher
_HIGHER = 0.05
_MOST_DOUBLINGS = 20
_LEAST_KEPT = 100


class _Word(msgspec.Struct, array_like=True):
    """What an answer said.

    Attributes:
        said_s: when.
        remaining: how much, less what may have been counted since and was never answered.
        left: `ServerWindow.left` then.
        left_likely: `ServerWindow.left_likely` then.
    """

    said_s: float
    remaining: int
    left: int
    left_likely: int


class _Refusals(msgspec.Struct, array_like=True):
    """Refusals in a row.

    Attributes:
        count: how many, those of requests that were under way together being one.
        first_s: when the first of them came.
        last_number: of the request that was admitted last when the last of them came.
    """

    count: int = 0
    first_s: float = 0.0
    last_number: int = 0


class RouteLimiter(msgspec.Struct, eq=False, array_like=True):
    """Admits the requests of one credential x route x method.

    It is plain values all through, and decides by them and by the clock alone: written down and
    read back, or fed the same events elsewhere, it decides the same.

    Args:
        first_pause_s: the first pause after a refusal that does not say how long to wait.
    """

    first_pause_s: float = 0.25
    _mirror: ServerWindow = msgspec.field(default_factory=ServerWindow)
    _limit: int | None = None
    _is_told: bool = False
    # The remaining of each word is below that of the next.
    _words: deque[_Word] = msgspec.field(default_factory=deque)
    _freshest: int = 0  # number of the request that was sent last of those answered
    _next_s: float = -inf  # when the next one may go to a server that tells nothing
    _heard_s: float = -inf  # when the last answer came
    _sent_since: int = 0
    _alone_from_s: float = -inf  # others were seen, who may come again until then
    _full_s: float = -inf  # when an answer said last that nothing remains, ...
    _reset_s: float = inf  # ... and the reset that it told
    _asks_from_s: float = -inf  # no reset of others is tried before
    _asking: int = 0  # number of the request that tries one
    _closed_until_s: float = -inf
    _refusals: _Refusals = msgspec.field(default_factory=_Refusals)
    _grows_s: float = inf  # when a guessed limit is tried higher

    @property
    def is_told(self) -> bool:
        """The server tells its quota in headers."""
        return self._is_told

    @property
    def rate_limit(self) -> RateLimit | None:
        """The server's limit, told or guessed; None where nothing shows that there is one."""
        return None if self._limit is None else RateLimit(self._limit, self.window_s)

    @property
    def window_s(self) -> float:
        """The length of the server's window, as far as it is known."""
        return self._mirror.length.value_s

    def wait_s(self, now_s: float) -> float:
        """0.0 where a request may start now; else the seconds after which to look again.

        Infinite where only an answer can change that: one is under way then.
        """
        if now_s < self._closed_until_s:
            return self._closed_until_s - now_s
        if self._room(now_s) >= 1:
            return 0.0
        changes = [self._mirror.next_free_s]
        if self._limit is None and self._is_heard:
            changes.append(self._next_s)
        elif not self._mirror.under_way:
            changes.append(self._asks_s)
        later = [change_s for change_s in changes if change_s > now_s]
        return min(later) - now_s if later else inf

    def due_s(self, now_s: float) -> float:
        """Seconds after which a request may start at the earliest: what the server has told."""
        return max(0.0, self._closed_until_s - now_s)

    def start(self, now_s: float) -> Permit:
        """Admit a request; only where `wait_s` is 0."""
        is_asking = self._is_told and not self._mirror.under_way and self._surely_free(now_s) < 1
        self._sent_since += 1
        permit = self._mirror.start(now_s)
        if self._limit is None:
            self._grow(now_s, permit.number)
        permit.is_told = self._is_told
        if is_asking:
            self._asking = permit.number
        return permit

    def on_lost(self, permit: Permit, now_s: float, *, sent: bool) -> None:
        """No answer came. The server may have counted it, if it was sent at all."""
        if sent:
            self._mirror.end(permit, now_s)
            for word in self._words:
                word.remaining -= 1
        else:
            self._mirror.take_back()

    def on_response(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """An answer came that is no refusal."""
        mirror, refusals = self._mirror, self._refusals
        mirror.end(permit, now_s)
        mirror.let_pass(permit)
        self._hear(permit, now_s, quota)
        if self._limit is not None:
            if not self._is_told:
                self._guess_more(permit, now_s, self._limit)
            elif quota.remaining is not None:
                self._bound_window(permit, now_s, self._limit, quota)
        if permit.number > refusals.last_number:
            refusals.count = 0

    def on_rejected(
        self, permit: Permit, now_s: float, quota: Quota, retry_after_s: float | None
    ) -> None:
        """The server refused the request for its rate.

        Of several refusals the latest reset counts. After an hour at most the gate opens to ask
        again: a client may outlive a proxy's word.
        """
        refusals = self._refusals
        self._mirror.end(permit, now_s)
        self._hear(permit, now_s, quota)
        if permit.number == self._asking:
            self._asks_from_s = now_s + _VAIN_WINDOWS * self.window_s
        # Refusals of what was sent before the first one was met are one and the same event.
        if permit.number > refusals.last_number:
            refusals.last_number = self._mirror.last_number
            refusals.count += 1
            if refusals.count == 1:
                refusals.first_s = now_s
            if not self._is_told:
                self._guess_less(now_s)
            self._bound_from_below(permit, quota.reset_s)
        pause_s = retry_after_s if retry_after_s is not None else quota.reset_s
        if pause_s:
            until_s = now_s + min(pause_s, LONGEST_WAIT_S)
        else:
            pause_s = self.first_pause_s * 2.0 ** min(refusals.count - 1, _MOST_DOUBLINGS)
            until_s = min(refusals.first_s + pause_s, now_s + LONGEST_WAIT_S)
        self._closed_until_s = max(self._closed_until_s, until_s)

    @property
    def _is_heard(self) -> bool:
        return self._heard_s > -inf

    def _room(self, now_s: float) -> int:
        """How many requests may start now."""
        mirror = self._mirror
        if self._refusals.count:
            return 1 - mirror.under_way
        if not self._is_heard:
            return FIRST_REQUESTS - mirror.under_way
        if self._limit is None:
            return int(now_s >= self._next_s)
        if not self._is_told:
            return self._limit - mirror.places(now_s)
        room = self._surely_free(now_s)
        if mirror.under_way:
            is_fresh = now_s - self._words[-1].said_s <= _FRESH_SHARE * self.window_s
            return room if is_fresh or self._sent_since * _STALE_PART < room else 0
        return max(room, int(self._may_ask(now_s)))

    def _surely_free(self, now_s: float) -> int:
        """Places that are free by the server's words, and by what of ours left since."""
        mirror = self._mirror
        ours = mirror.places(now_s)
        free = min(word.remaining - word.left for word in self._words) + mirror.left
        free -= mirror.under_way
        return min(free, (self._limit or 0) - ours) if mirror.length.is_known else free

    def _may_ask(self, now_s: float) -> bool:
        """Whether one request may go although no place is surely free."""
        if now_s >= self._asks_s:
            return True
        free = min(word.remaining - word.left_likely for word in self._words)
        has_room = self._mirror.places(now_s) < (self._limit or 0)
        least = 1 if now_s >= self._alone_from_s else _LEAST_BESIDE_OTHERS
        return has_room and free + self._mirror.left_likely >= least

    @property
    def _asks_s(self) -> float:
        """When one request may try the reset; at the latest when all that was seen has left."""
        return min(
            max(self._reset_s, self._asks_from_s), max(self._heard_s, self._full_s) + self.window_s
        )

    def _grow(self, now_s: float, number: int) -> None:
        """Set when the next request may go to a server that tells nothing.

        What this process was late for, busy with something else, is not made up for in a burst.
        """
        if number < FIRST_REQUESTS:
            self._next_s = now_s
        else:
            self._next_s = max(self._next_s, now_s - _LATE_S) + _GROWTH_GAP_S / number

    def _hear(self, permit: Permit, now_s: float, quota: Quota) -> None:
        """Take the word of an answer."""
        mirror = self._mirror
        mirror.places(now_s)
        self._heard_s = now_s
        mirror.hear(now_s)
        if quota.remaining is None or (quota.limit is None and not self._is_told):
            if self._words and now_s > self._words[-1].said_s + self.window_s:
                self._is_told = False  # the headers are gone
            return
        self._is_told, self._limit = True, quota.limit or self._limit
        mirror.most_kept = max(_LEAST_KEPT, 2 * (self._limit or 0))
        self._sent_since = 0
        limit = self._limit or 0
        remaining = min(quota.remaining, limit)
        if limit - remaining > mirror.most_places(permit, now_s):
            self._alone_from_s = now_s + _OTHERS_WINDOWS * self.window_s
        word = _Word(now_s, remaining, mirror.left, mirror.left_likely)
        while self._words and self._words[-1].remaining >= word.remaining:
            self._words.pop()
        self._words.append(word)
        if permit.number > self._freshest:
            self._freshest = permit.number
            while self._words[0].said_s < permit.sent_s:
                self._words.popleft()

    def _bound_window(self, permit: Permit, now_s: float, limit: int, quota: Quota) -> None:
        """See what an answer tells of the length of the window, and of when it opens again."""
        mirror, used = self._mirror, limit - min(quota.remaining or 0, limit)
        if used == limit:
            self._note_full(permit, now_s, quota.reset_s)
        # Of those that were counted before, the last `used` and one more are one too many.
        mirror.bound_length(now_s, permit.passed, used + 1)
        if not mirror.length.is_known and quota.reset_s and permit.sent_s <= self._full_s:
            mirror.bound_length(self._reset_s, mirror.passed, limit)

    def _note_full(self, permit: Permit, now_s: float, reset_s: float | None) -> None:
        """Nothing remains until the reset."""
        self._full_s = now_s
        self._reset_s = now_s + (reset_s or self.first_pause_s)
        # Whole seconds are rounded up: within the last of them the mirror knows better.
        sure_s = ceil(reset_s) - 1 if reset_s else 0.0
        self._closed_until_s = max(self._closed_until_s, permit.sent_s + sure_s)

    def _bound_from_below(self, permit: Permit, reset_s: float | None) -> None:
        """A place of the window is taken for W, so no reset is further away."""
        mirror = self._mirror
        if self._is_told:
            if reset_s and reset_s - 1 > mirror.length.longest_s:
                mirror.length = WindowLength()  # it is another one now
            return
        last = mirror.last_passed(self._limit or 0, mirror.passed)
        if not last:
            return
        # Had the L-th last of ours left the window, this one had not been refused.
        bound_s = permit.sent_s - last[0].ended_s
        if bound_s >= mirror.length.longest_s:
            mirror.length = WindowLength()  # it was others that left: learn it anew
        mirror.length.at_least(bound_s)

    def _guess_less(self, now_s: float) -> None:
        """Without a word of it, the limit is what passed within the window before a refusal."""
        if self._refusals.count == 1:
            self._mirror.places(now_s)
            met = self._mirror.passed_inside()
            known = self._limit
            self._limit = max(1, met if known is None else max(min(met, known), known // 2))
        self._grows_s = now_s + _QUIET_WINDOWS * self.window_s

    def _guess_more(self, permit: Permit, now_s: float, limit: int) -> None:
        """Without a word of it, what passes shows how long the window is, and how much it holds."""
        mirror, refusals = self._mirror, self._refusals
        if refusals.count and permit.number <= refusals.last_number:
            self._limit = limit + 1  # it had passed before that refusal, and is known only now
            return
        oldest_s = mirror.oldest_sent_s() if refusals.count else inf
        if oldest_s <= refusals.first_s:
            # The window was full of ours then, so the first of them has left it.
            mirror.length.at_most(now_s - oldest_s)
        # Of those that were counted before, not all that the window holds can still be in it.
        mirror.bound_length(now_s, permit.passed, limit)
        if now_s >= self._grows_s:
            self._limit = limit + max(1, int(limit * _HIGHER))
            self._grows_s = now_s + self.window_s
