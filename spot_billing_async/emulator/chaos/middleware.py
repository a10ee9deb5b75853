"""Middleware that applies the optional rate limit, capacity, latency and faults to requests."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import web

from spot_billing_async.emulator.chaos.capacity import Capacity, Overloaded
from spot_billing_async.emulator.chaos.faults import (
    FAULTS_BEFORE_EXECUTION,
    replace_response,
    send_faulty,
)
from spot_billing_async.emulator.chaos.misdelivery import Misdelivery
from spot_billing_async.emulator.chaos.randomness import (
    Draw,
    Fault,
    FaultPlan,
    Latency,
    RandomTrace,
    hash_to_fractions,
)
from spot_billing_async.emulator.chaos.rate_limit import Bursts, RateLimit, SlidingWindow
from spot_billing_async.emulator.chaos.wrong_answers import WRONG_ANSWER, WrongAnswer
from spot_billing_async.emulator.responses import (
    ApiProblem,
    ErrorDetail,
    error_response,
    problem_response,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ChaosSettings(NamedTuple):
    """Limits, latency and faults of the server; `Emulator` documents each of them."""

    rate_limit: RateLimit | None
    rate_limit_headers: bool
    other_consumer: float
    capacity: int | None
    latency: Latency
    faults: FaultPlan
    seed: int


class ChaosMiddleware:
    """Middleware that limits, delays and disturbs requests.

    Faults apply to refused requests too. Only requests within the rate limit take time and a slot.

    Args:
        settings: the limits, latency and faults.
        identify: a function that returns the caller of a request, who has windows of their own.
    """

    def __init__(self, settings: ChaosSettings, identify: Callable[[web.Request], str]) -> None:
        self._settings = settings
        self._identify = identify
        self._trace = RandomTrace(settings.faults, settings.latency, settings.seed)
        self._capacity = None if settings.capacity is None else Capacity(settings.capacity)
        self._misdelivery = Misdelivery()
        self._windows: dict[tuple[str, str, str], SlidingWindow] = {}

    @web.middleware
    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request with `handler`, unless a limit or a fault prevents it."""
        # Drawn before any await, so that the order of arrival decides among equal requests.
        draw = self._trace.draw(request.method, request.raw_path)
        self._misdelivery.send_late_copy(request.protocol)
        limit, decision = self._settings.rate_limit, None
        if limit is not None:
            decision = self._window(request, limit).admit(time.monotonic())
        if decision is None or decision.allowed:
            response = await self._process(request, handler, draw)
        else:
            # The documented body of a 429 has a string in `data` and no `errors`.
            content = {"data": "Rate limit exceeded"}
            response = error_response(request, HTTPStatus.TOO_MANY_REQUESTS, content)
        if draw.fault is not None:
            response = await replace_response(request, response, draw.fault)
        # The headers belong to every response, also to one that a fault replaced.
        if limit is not None and decision is not None and self._settings.rate_limit_headers:
            response.headers["X-RateLimit-Limit"] = str(limit.requests)
            response.headers["X-RateLimit-Remaining"] = str(decision.remaining)
            response.headers["X-RateLimit-Reset"] = str(math.ceil(decision.reset_s))
        if draw.fault is None or draw.fault is Fault.MISDIRECT:
            return await self._misdelivery.swap(response, draw.fault)
        response = await self._misdelivery.send_twice(request, response, draw.fault)
        return await send_faulty(request, response, draw.fault)

    async def _process(
        self, request: web.Request, handler: Handler, draw: Draw
    ) -> web.StreamResponse:
        try:
            async with nullcontext() if self._capacity is None else self._capacity.slot():
                if draw.latency_s:
                    await asyncio.sleep(draw.latency_s)
                if draw.fault in FAULTS_BEFORE_EXECUTION:
                    return web.Response()  # never sent: the fault replaces it
                if draw.fault is not None and draw.fault.is_wrong_answer:
                    request[WRONG_ANSWER] = WrongAnswer(draw.fault, draw.position)
                return await handler(request)
        except Overloaded:
            detail = ErrorDetail(None, "The service is overloaded", "ServiceUnavailable")
            return problem_response(request, ApiProblem(HTTPStatus.SERVICE_UNAVAILABLE, [detail]))

    def _window(self, request: web.Request, limit: RateLimit) -> SlidingWindow:
        resource = request.match_info.route.resource
        route = "" if resource is None else resource.canonical
        # Unknown methods of a path share one window, so that they cannot fill the memory.
        method = request.method if request.match_info.http_exception is None else ""
        key = (self._identify(request), route, method)
        window = self._windows.get(key)
        if window is None:
            # The other consumer's bursts come at a time that follows from the seed and the key.
            phase, _ = hash_to_fractions(f"{self._settings.seed} {' '.join(key)}")
            size = round(self._settings.other_consumer * limit.requests)
            bursts = Bursts(size, phase * limit.window_s)
            window = self._windows[key] = SlidingWindow(limit, bursts)
        return window
