"""Phases of calls that meet random delays, pages, failures and cancellations."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ClientConfig, RetryPolicy, SpotBillingClient, SpotBillingError
from spot_billing_async.telemetry import CallEnded, Event
from tests.support import serve

START_S = float(int(time.monotonic()))  # whole seconds add up exactly in floating point
PAGE = (
    b'{"response":{"items":[{"cost":1,"currency":"USD"}],"count":1,'
    b'"paginationInfo":{"nextKey":%s}}}'
)


@dataclass(frozen=True)
class Step:
    """One response of the server, and the seconds that pass before its parts.

    Attributes:
        kind: a page with or without a next one, an error to retry, an invalid body, one that ends
            early, a closed connection, or no response until the call is cancelled.
        head_s: seconds before the response starts.
        body_s: seconds between the start of the body and its rest.
    """

    kind: Literal["page", "last page", "503", "no json", "truncated", "closed", "cancelled"]
    head_s: int
    body_s: int


@dataclass
class Script:
    """A server that follows steps, and the clock that they move.

    Attributes:
        steps: the steps; after them every response is a last page.
        token_s: seconds that the token provider takes.
        now_s: the time on the clock.
    """

    steps: list[Step]
    token_s: int
    now_s: float = START_S

    def __post_init__(self) -> None:
        self._rest = iter(self.steps)
        self.cancel = asyncio.Event()

    def clock(self) -> float:
        """Return the seconds on the clock."""
        return self.now_s

    async def token(self) -> str:
        """Return a token after `token_s` seconds."""
        self.now_s += self.token_s
        return "t"

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Follow the next step."""
        step = next(self._rest, Step("last page", 0, 0))
        self.now_s += step.head_s
        if step.kind == "cancelled":
            self.cancel.set()
            await asyncio.Event().wait()
        if step.kind == "closed":
            assert request.transport is not None
            request.transport.close()
        if step.kind in {"closed", "503"}:
            return web.Response(status=503)
        body = (
            b"??" if step.kind == "no json" else PAGE % (b"2" if step.kind == "page" else b"null")
        )
        response = web.StreamResponse()
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[:1])  # aiohttp sends the head with the first bytes of the body
        for _ in range(5):
            await asyncio.sleep(0)  # lets the client read the head, so that body time passes
        self.now_s += step.body_s
        await response.write(body[1 : len(body) // 2 if step.kind == "truncated" else None])
        if step.kind == "truncated" and request.transport is not None:
            request.transport.close()
        return response


async def ended_call(script: Script) -> CallEnded:
    """Return the event of a call that meets the steps of a script."""
    calls: list[CallEnded] = []

    def hook(event: Event) -> None:
        if isinstance(event, CallEnded):
            calls.append(event)

    retry = RetryPolicy(max_attempts=4, backoff_base_s=1e-6, backoff_cap_s=1e-5)
    config = ClientConfig(deadline_s=7200, retry=retry)
    async with (
        serve(script.respond) as base_url,
        SpotBillingClient(script.token, base_url=base_url, config=config, hook=hook) as client,
    ):
        client._session.clock = script.clock
        call = asyncio.create_task(client.costs.get("a"))
        cancel = asyncio.create_task(script.cancel.wait())
        await asyncio.wait([call, cancel], return_when=asyncio.FIRST_COMPLETED)
        call.cancel()
        cancel.cancel()
        with suppress(SpotBillingError, asyncio.CancelledError):
            await call
    (ended,) = calls
    return ended


STEPS = st.builds(
    Step,
    st.sampled_from(["page", "last page", "503", "no json", "truncated", "closed", "cancelled"]),
    st.integers(0, 9),
    st.integers(0, 9),
)


@given(steps=st.lists(STEPS, max_size=6), token_s=st.integers(0, 9))
def test_the_phases_of_a_call_add_up_to_its_wall_time(steps: list[Step], token_s: int) -> None:
    """The sum holds for every end of a call; each wait is in the phase of its kind."""

    async def check() -> None:
        script = Script(steps, token_s)
        ended = await ended_call(script)
        assert ended.phases.total_s == ended.elapsed_s == script.now_s - START_S
        assert ended.phases.queued_s == token_s
        assert ended.phases.first_byte_s + ended.phases.body_s == ended.elapsed_s - token_s

    asyncio.run(check())
