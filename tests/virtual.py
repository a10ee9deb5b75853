"""Event loop with simulated time, and servers in it: a minute of pacing takes milliseconds."""

import asyncio
import math
import random
import selectors
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

from spot_billing_async._core.pacing.admission import Admission
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.protocol.rate_limit import Quota
from spot_billing_async.emulator.chaos.rate_limit import Bursts, RateLimit, SlidingWindow

T = TypeVar("T")

_BACKOFF_S = 0.1
_OVERLOADED = 503


class _Selector(selectors.DefaultSelector):
    """Selector that does not wait, but advances the clock by the timeout."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "all tasks wait, and no timer is set"
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose clock jumps to the next timer; waiting without a timer fails."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self._virtual.now_s


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in simulated time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


@dataclass
class Server:
    """Model of a server with a quota, counted as in the emulator, and a capacity.

    Attributes:
        limit: quota; None for none.
        sends_headers: responses have quota headers.
        other_share: share of the quota that another consumer uses, in one burst per window.
        other_is_late: the first burst comes after the first request, not before.
        latency_s: round-trip time of the network; it varies by half.
        capacity: requests it works on at once, each for `service_s`; None for no bound. Beyond four
            times as many it responds with 503.
        service_s: seconds of work for a request.
        seed: seed of all random choices.
        rejections: number of requests rejected by the quota.
        overloads: number of requests rejected beyond the capacity.
    """

    limit: RateLimit | None = None
    sends_headers: bool = True
    other_share: float = 0.0
    other_is_late: bool = False
    latency_s: float = 0.004
    capacity: int | None = None
    service_s: float = 0.05
    seed: int = 0
    rejections: int = 0
    overloads: int = 0
    _in_progress: int = 0
    _random: random.Random = field(init=False)
    _window: SlidingWindow | None = field(init=False, default=None)
    _working: asyncio.Semaphore | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  for a model, not for a secret
        if self.limit is not None:
            size = int(self.other_share * self.limit.requests)
            phase_s = self._random.random() * self.limit.window_s
            self._window = SlidingWindow(self.limit, Bursts(size, phase_s))
            if self.other_is_late:
                began_s = _Selector.now_s
                self._window._burst_number = math.floor((began_s - phase_s) / self.limit.window_s)
        if self.capacity is not None:
            self._working = asyncio.Semaphore(self.capacity)

    async def __call__(self) -> tuple[int, Quota]:
        """Respond to a request with a status and quota headers."""
        await self._delay()
        status, quota = self._admit(asyncio.get_running_loop().time())
        if status == 200 and self._working is not None and self.capacity is not None:
            if self._in_progress >= 4 * self.capacity:
                self.overloads += 1
                status = _OVERLOADED
            else:
                self._in_progress += 1
                async with self._working:
                    await asyncio.sleep(self.service_s)
                self._in_progress -= 1
        await self._delay()
        return status, quota

    async def _delay(self) -> None:
        await asyncio.sleep(self.latency_s / 2 * self._random.uniform(0.5, 1.5))

    def _admit(self, now_s: float) -> tuple[int, Quota]:
        if self._window is None or self.limit is None:
            return 200, Quota()
        verdict = self._window.admit(now_s)
        self.rejections += not verdict.allowed
        status = 200 if verdict.allowed else 429
        if not self.sends_headers:
            return status, Quota()
        return status, Quota(self.limit.requests, verdict.remaining, math.ceil(verdict.reset_s))


async def pull(server: Server, requests: int, *, workers: int = 64) -> float:
    """Complete some requests through an admission and return the seconds that takes."""
    loop = asyncio.get_running_loop()
    admission, limiter = Admission(ConcurrencyLimit(workers), loop.time), RouteLimiter()
    began_s = loop.time()
    left = iter(range(requests))
    async with asyncio.TaskGroup() as crew:
        for _ in range(min(workers, requests)):
            crew.create_task(_work(server, admission, limiter, left))
    return loop.time() - began_s


async def _work(
    server: Server, admission: Admission, limiter: RouteLimiter, left: Iterator[int]
) -> None:
    loop = asyncio.get_running_loop()
    for _ in left:
        status = 0
        while status != 200:
            permit = admission.try_start(limiter)
            if permit is None:
                permit = await admission.wait(limiter, inf, again=status == 429)
            sent_s = loop.time()
            status, quota = await server()
            if status == 429:
                admission.on_rejected(limiter, permit, quota, retry_after_s=quota.reset_s)
            else:
                waited_s = loop.time() - sent_s
                admission.on_response(
                    limiter, permit, quota, waited_s=waited_s, is_overloaded=status == _OVERLOADED
                )
            if status == _OVERLOADED:
                await asyncio.sleep(_BACKOFF_S)
