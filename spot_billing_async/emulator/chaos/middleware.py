"""The conditions a real server works under, on request: rate limit, capacity, latency, faults."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web

from spot_billing_async.emulator.chaos.capacity import Capacity, Overloaded
from spot_billing_async.emulator.chaos.faults import UNPERFORMED, delivered, spoilt
from spot_billing_async.emulator.chaos.randomness import Chance, FaultPlan, Latency, Lot, fractions
from spot_billing_async.emulator.chaos.rate_limit import Bursts, RateLimit, SlidingWindow, Verdict
from spot_billing_async.emulator.chaos.wrong_answers import LIE, Lie
from spot_billing_async.emulator.responses import Entry, Refused, error_answer, refusal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Terms(NamedTuple):
    """The conditions under which the server works; see `Emulator` for what each means."""

    rate_limit: RateLimit | None
    rate_limit_headers: bool
    other_consumer: float
    capacity: int | None
    latency: Latency
    faults: FaultPlan
    seed: int


class Conditions:
    """Decides what befalls each request, and makes it so.

    A fault befalls refused requests like all others; time and a place are taken only by those that
    are worked on.

    Args:
        terms: what the server works under.
        caller: who asks: requests of different callers never share a window.
    """

    def __init__(self, terms: Terms, caller: Callable[[web.Request], str]) -> None:
        self._terms = terms
        self._caller = caller
        self._chance = Chance(terms.faults, terms.latency, terms.seed)
        self._capacity = None if terms.capacity is None else Capacity(terms.capacity)
        self._windows: dict[tuple[str, str, str], SlidingWindow] = {}

    @web.middleware
    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request by `handler`, unless the conditions are against it."""
        lot = self._chance.draw(request.method, request.raw_path)
        verdict = self._verdict(request)
        if verdict is None or verdict.allowed:
            answer = await self._worked_on(request, handler, lot)
        else:
            # The documented body: `data` is a string, and there are no errors.
            details = {"data": "Rate limit exceeded"}
            answer = error_answer(request, HTTPStatus.TOO_MANY_REQUESTS, details)
        if lot.fault is not None:
            answer = await spoilt(request, answer, lot.fault)
        self._tell(answer, verdict)
        return answer if lot.fault is None else await delivered(request, answer, lot.fault)

    async def _worked_on(
        self, request: web.Request, handler: Handler, lot: Lot
    ) -> web.StreamResponse:
        try:
            async with nullcontext() if self._capacity is None else self._capacity.place():
                if lot.latency_s:
                    await asyncio.sleep(lot.latency_s)
                if lot.fault in UNPERFORMED:
                    return web.Response()  # the fault has another
                if lot.fault is not None and lot.fault.is_lie:
                    request[LIE] = Lie(lot.fault, lot.place)
                return await handler(request)
        except Overloaded:
            entry = Entry(None, "The service is overloaded", "ServiceUnavailable")
            return refusal(request, Refused(HTTPStatus.SERVICE_UNAVAILABLE, [entry]))

    def _verdict(self, request: web.Request) -> Verdict | None:
        limit = self._terms.rate_limit
        if limit is None:
            return None
        return self._window(request, limit).admit(time.monotonic())

    def _tell(self, answer: web.StreamResponse, verdict: Verdict | None) -> None:
        limit = self._terms.rate_limit
        if limit is None or verdict is None or not self._terms.rate_limit_headers:
            return
        answer.headers["X-RateLimit-Limit"] = str(limit.requests)
        answer.headers["X-RateLimit-Remaining"] = str(verdict.remaining)
        answer.headers["X-RateLimit-Reset"] = str(math.ceil(verdict.reset_s))

    def _window(self, request: web.Request, limit: RateLimit) -> SlidingWindow:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        # What no route takes shares one window: made-up methods can't fill the memory.
        method = request.method if request.match_info.http_exception is None else ""
        key = (self._caller(request), route, method)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = SlidingWindow(limit, self._bursts(key, limit))
        return window

    def _bursts(self, key: tuple[str, str, str], limit: RateLimit) -> Bursts:
        phase, _ = fractions(f"{self._terms.seed} {' '.join(key)}")
        size = round(self._terms.other_consumer * limit.requests)
        return Bursts(size, phase * limit.window_s)
