"""Simulated servers with quotas of many kinds, a client in front of them, and the best schedule.

Nothing here shares code or assumptions with the limiter or with the emulator. Time is simulated by
an event queue, so a pull of an hour takes milliseconds.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Literal, NamedTuple, Protocol

import msgspec

from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.pacing.window import Permit
from spot_billing_async._core.protocol.rate_limit import Quota

WORKERS = 256
_SHORTEST_TIMER_S = 0.0005
_MOST_EVENTS = 3_000_000


class Meter(Protocol):
    """Counting of requests by a server; times never decrease."""

    limit: int
    window_s: float

    def free(self, now_s: float) -> int:
        """Return the number of requests that would be accepted now."""

    def count(self, now_s: float) -> bool:
        """Count a request, and return True if it is accepted."""

    def reset_s(self, now_s: float) -> float:
        """Return the seconds until a request is accepted, as this kind of server reports them."""

    def opens_s(self, now_s: float) -> float:
        """Return the time at which a request is accepted if nobody sends one until then."""


@dataclass
class SlidingLog:
    """Log of the requests of the last `window_s` seconds; refused ones may count as well."""

    limit: int
    window_s: float
    counts_refused: bool = False
    _times: deque[float] = field(default_factory=deque)

    def free(self, now_s: float) -> int:
        """Return the number of requests that would be accepted now."""
        while self._times and self._times[0] + self.window_s <= now_s:
            self._times.popleft()
        return max(0, self.limit - len(self._times))

    def count(self, now_s: float) -> bool:
        """Count a request, and return True if it is accepted."""
        is_accepted = self.free(now_s) > 0
        if is_accepted or self.counts_refused:
            self._times.append(now_s)
        return is_accepted

    def reset_s(self, now_s: float) -> float:
        """Return the seconds until a request is accepted, as reported."""
        return max(0.0, self.opens_s(now_s) - now_s)

    def opens_s(self, now_s: float) -> float:
        """Return the time at which a request would be accepted."""
        return now_s if self.free(now_s) else self._times[-self.limit] + self.window_s


@dataclass
class FixedWindow:
    """Counter that starts anew at every multiple of `window_s` after `phase_s`."""

    limit: int
    window_s: float
    phase_s: float = 0.0
    _number: int = -1
    _used: int = 0

    def free(self, now_s: float) -> int:
        """Return the number of requests that would be accepted now."""
        number = math.floor((now_s - self.phase_s) / self.window_s + 1e-9)
        if number != self._number:
            self._number, self._used = number, 0
        return max(0, self.limit - self._used)

    def count(self, now_s: float) -> bool:
        """Count a request, and return True if it is accepted."""
        is_accepted = self.free(now_s) > 0
        self._used += is_accepted
        return is_accepted

    def reset_s(self, now_s: float) -> float:
        """Return the seconds until a request is accepted, as reported."""
        self.free(now_s)
        return max(0.0, (self._number + 1) * self.window_s + self.phase_s - now_s)

    def opens_s(self, now_s: float) -> float:
        """Return the time at which a request would be accepted."""
        return now_s if self.free(now_s) else now_s + self.reset_s(now_s)


@dataclass
class TokenBucket:
    """Bucket of `limit` tokens that is filled in `window_s`; the reset tells the next token.

    With `tells_full` the reset is the time until the bucket is full, as several libraries have it.
    """

    limit: int
    window_s: float
    tells_full: bool = False
    _tokens: float = math.inf
    _at_s: float = 0.0

    def free(self, now_s: float) -> int:
        """Return the number of requests that would be accepted now."""
        gained = (now_s - self._at_s) * self.limit / self.window_s
        self._tokens, self._at_s = min(self.limit, self._tokens + gained), now_s
        return int(self._tokens + 1e-9)

    def count(self, now_s: float) -> bool:
        """Count a request, and return True if it is accepted."""
        is_accepted = self.free(now_s) > 0
        self._tokens -= is_accepted
        return is_accepted

    def reset_s(self, now_s: float) -> float:
        """Return the seconds until a request is accepted, as reported."""
        self.free(now_s)
        wanted = self.limit if self.tells_full else 1
        return max(0.0, (wanted - self._tokens) * self.window_s / self.limit)

    def opens_s(self, now_s: float) -> float:
        """Return the time at which a request would be accepted."""
        self.free(now_s)
        return now_s + max(0.0, (1 - self._tokens) * self.window_s / self.limit)


class Change(NamedTuple):
    """New limit and window of a server from a time on."""

    at_s: float
    limit: int
    window_s: float


Headers = Literal["always", "at zero", "partly", "never"]
Rounding = Literal["up", "decimals", "exact"]
Others = Literal["none", "bursts", "steady"]


class Traits(msgspec.Struct, frozen=True):
    """Behaviour of one random server and the size of the pull from it."""

    kind: Literal["log", "strict log", "fixed", "tokens", "full tokens"]
    limit: int
    window_s: float
    headers: Headers
    rounding: Rounding
    decimals: int
    retry_after: bool
    others: Others
    others_per_window: int
    round_trip_s: float
    requests: int
    seed: int
    change: Change | None = None

    def meter(self, limit: int) -> Meter:
        """Return a meter of this kind that nobody has used."""
        phase_s = Random(self.seed).random() * self.window_s  # noqa: S311  for a model
        match self.kind:
            case "log" | "strict log":
                return SlidingLog(limit, self.window_s, counts_refused=self.kind == "strict log")
            case "fixed":
                return FixedWindow(limit, self.window_s, phase_s)
            case "tokens" | "full tokens":
                return TokenBucket(limit, self.window_s, tells_full=self.kind == "full tokens")

    def rounded(self, reset_s: float) -> float:
        """Return a reset as this server writes it."""
        match self.rounding:
            case "up":
                return float(math.ceil(reset_s - 1e-9))
            case "decimals":
                return math.floor(reset_s * 10.0**self.decimals + 1e-6) / 10.0**self.decimals
            case "exact":
                return reset_s


def random_traits(
    seed: int,
    *,
    headers: tuple[Headers, ...],
    others: bool,
    changes: bool = False,
    most: int = 1000,
) -> Traits:
    """Return a random server: windows, and limits up to `most`, are spread evenly by logarithm."""
    random = Random(seed)  # noqa: S311  for a model
    window_s = 0.5 * 120 ** random.random()
    if random.random() < 0.4:  # people choose round numbers
        window_s = random.choice([1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0])
    limit = round(most ** random.random())
    share = random.uniform(0.05, 0.5) if others else 0.0
    others_per_window = int(share * limit)
    most_s = min(0.2, 0.05 * window_s, 0.25 * WORKERS * window_s / limit)
    requests = max(10 * limit, 2000)
    change = None
    if changes:
        factor = 4 ** random.uniform(-1, 1)
        at_s = random.uniform(0.3, 0.7) * requests / limit * window_s
        if random.random() < 0.5:
            change = Change(at_s, max(1, round(limit * factor)), window_s)
        else:
            change = Change(at_s, limit, min(60.0, max(0.5, window_s * factor)))
    return Traits(
        kind=random.choice(["log", "strict log", "fixed", "tokens", "full tokens"]),
        limit=limit,
        window_s=window_s,
        headers=random.choice(headers),
        rounding=random.choice(["up", "decimals", "exact"]),
        decimals=random.choice([1, 2, 3]),
        retry_after=random.random() < 0.3,
        others=random.choice(["bursts", "steady"]) if others_per_window else "none",
        others_per_window=others_per_window,
        round_trip_s=0.002 * (most_s / 0.002) ** random.random(),
        requests=requests,
        seed=seed,
        change=change,
    )


class Answer(NamedTuple):
    """Answer to one request: its quota headers, and Retry-After."""

    is_accepted: bool
    quota: Quota
    retry_after_s: float | None


class SimulatedServer:
    """Server of some traits, with other consumers if `own_limit` is the whole limit."""

    def __init__(self, traits: Traits, *, alone: bool = False) -> None:
        self._traits = traits
        self._taken = traits.others_per_window if alone else 0
        self.meter: Meter = traits.meter(traits.limit - self._taken)
        self._random = Random(traits.seed + 1)  # noqa: S311  for a model
        self._change = traits.change
        self._others = iter(()) if alone else self._times_of_others()
        self._next_other_s = next(self._others, math.inf)

    def _times_of_others(self) -> Iterator[float]:
        traits, random = self._traits, Random(self._traits.seed + 2)  # noqa: S311  for a model
        size, at_s = traits.others_per_window, random.random() * traits.window_s
        while traits.others == "bursts":
            yield from [at_s] * size
            at_s += traits.window_s
        while traits.others == "steady":
            at_s += random.expovariate(size / traits.window_s)
            yield at_s

    def advance(self, now_s: float) -> None:
        """Count the other consumers' requests up to now, and change if that is due."""
        while self._next_other_s <= now_s:
            self.meter.count(self._next_other_s)
            self._next_other_s = next(self._others, math.inf)
        if self._change is not None and self._change.at_s <= now_s:
            self.meter.limit = max(1, self._change.limit - self._taken)
            self.meter.window_s = self._change.window_s
            self._change = None

    def answer(self, now_s: float) -> Answer:
        """Count a request that arrives now, and answer it."""
        self.advance(now_s)
        traits, meter = self._traits, self.meter
        is_accepted = meter.count(now_s)
        remaining = meter.free(now_s)
        reset_s = traits.rounded(meter.reset_s(now_s))
        if remaining and traits.kind not in {"fixed", "full tokens"}:
            reset_s = 0.0
        has_headers = (
            traits.headers == "always"
            or (traits.headers == "at zero" and not remaining)
            or (traits.headers == "partly" and self._random.random() < 0.5)
        )
        retry_after_s = (
            float(math.ceil(meter.opens_s(now_s) - now_s)) if traits.retry_after else None
        )
        quota = Quota(meter.limit, remaining, reset_s) if has_headers else Quota()
        return Answer(is_accepted, quota, retry_after_s)


class Result(NamedTuple):
    """Outcome of a pull: its time, refusals, and the requests sent before a decimal reset."""

    took_s: float
    refused: int
    too_early: int


def simulate(traits: Traits, limiter: RouteLimiter | None = None) -> Result:  # noqa: C901  one loop
    """Pull from a server through a limiter, with `WORKERS` requests in flight at most."""
    server, limiter = SimulatedServer(traits), limiter or RouteLimiter()
    concurrency, random = ConcurrencyLimit(WORKERS), Random(traits.seed + 3)  # noqa: S311  for a model
    left, open_requests, refused, too_early, now_s = traits.requests, traits.requests, 0, 0, 0.0
    closed_until_s = 0.0  # by the resets with decimals that have arrived
    events: list[tuple[float, int, Permit, Answer | None]] = []
    number = count()
    for _ in range(_MOST_EVENTS):
        check_s = math.inf
        while left and concurrency.room(has_quota_headers=limiter.has_quota_headers):
            if wait_s := limiter.wait_s(now_s):
                check_s = now_s + max(wait_s, _SHORTEST_TIMER_S)
                break
            too_early += now_s < closed_until_s - 1e-6
            permit = limiter.start(now_s)
            concurrency.start(has_quota_headers=permit.has_quota_headers)
            left -= 1
            at_s = now_s + traits.round_trip_s / 2 * random.uniform(0.5, 1.5)
            heappush(events, (at_s, next(number), permit, None))
        if not events or check_s < events[0][0]:
            assert check_s < math.inf, "nothing will ever happen"
            now_s = check_s
            continue
        now_s, _, permit, answer = heappop(events)
        if answer is None:
            at_s = now_s + traits.round_trip_s / 2 * random.uniform(0.5, 1.5)
            heappush(events, (at_s, next(number), permit, server.answer(now_s)))
            continue
        concurrency.end(has_quota_headers=permit.has_quota_headers)
        reset_s = answer.quota.reset_s
        if answer.quota.remaining == 0 and reset_s and reset_s % 1:
            closed_until_s = max(closed_until_s, now_s + reset_s)
        if answer.is_accepted:
            if not permit.has_quota_headers:
                concurrency.on_response(now_s - permit.sent_s, permit.sent_s, now_s)
            limiter.on_response(permit, now_s, answer.quota)
            open_requests -= 1
            if not open_requests:
                return Result(now_s, refused, too_early)
        else:
            refused += 1
            left += 1
            retry_after_s = answer.retry_after_s
            if retry_after_s is None:
                retry_after_s = answer.quota.reset_s
            limiter.on_rejected(permit, now_s, answer.quota, retry_after_s)
    raise AssertionError("a hot loop")


def best_s(traits: Traits) -> float:
    """Return the time of the best schedule, which honours the resets that are sent.

    It knows the server's state, so it sends each request at the first moment at which the server
    accepts it, but not before a reset that has arrived. It has the quota that the other consumers
    leave on average to itself.
    """
    server = SimulatedServer(traits, alone=True)
    now_s = closed_until_s = 0.0
    for _ in range(traits.requests):
        server.advance(now_s)
        while (opens_s := max(closed_until_s, server.meter.opens_s(now_s))) > now_s:
            now_s = opens_s
            server.advance(now_s)
        answer = server.answer(now_s)
        assert answer.is_accepted
        if answer.quota.remaining == 0 and answer.quota.reset_s:
            closed_until_s = now_s + answer.quota.reset_s + traits.round_trip_s
    return now_s + traits.round_trip_s


def percentile(values: list[float], share: float) -> float:
    """Return the value that a share of all values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
