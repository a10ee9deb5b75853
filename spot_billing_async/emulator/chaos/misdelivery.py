"""Responses that arrive where another one is expected: sent twice, or on a wrong connection."""

import asyncio
from typing import NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from spot_billing_async.emulator.chaos.faults import body_of, write_raw
from spot_billing_async.emulator.chaos.randomness import Fault

_IDLE_S = 0.02
"""Seconds after which a copy is sent on an idle connection: a client has put it back by then."""

_PARTNER_WAIT_S = 0.1
"""Seconds for which a response waits for another one to be swapped with."""


class _Waiting(NamedTuple):
    """Response that waits for a partner, and the future of the response to send instead."""

    response: web.StreamResponse
    partner: "asyncio.Future[web.StreamResponse]"


class Misdelivery:
    """Copies of responses that are due on each connection, and the response to be swapped next."""

    def __init__(self) -> None:
        # The protocol stands for the connection; an entry goes with it.
        self._copies: WeakKeyDictionary[web.RequestHandler, bytes] = WeakKeyDictionary()
        self._waiting: _Waiting | None = None

    def send_late_copy(self, connection: web.RequestHandler) -> None:
        """Send the copy that is due on a connection, if any; nothing else may be in sending."""
        copy = self._copies.pop(connection, None)
        if copy is not None:
            write_raw(connection.transport, copy)

    async def swap(self, response: web.StreamResponse, fault: Fault | None) -> web.StreamResponse:
        """Return the response to send instead of one without another fault.

        A response with the fault `misdirect` waits for the next one, of any other connection, and
        the two are swapped. If none comes, the response is sent where it belongs.
        """
        waiting = self._waiting
        # Cancelled with its request, or timed out, but not yet removed.
        if waiting is not None and not waiting.partner.done():
            self._waiting = None
            waiting.partner.set_result(response)
            return waiting.response
        if fault is not Fault.MISDIRECT:
            return response
        waiting = _Waiting(response, asyncio.get_running_loop().create_future())
        self._waiting = waiting
        try:
            async with asyncio.timeout(_PARTNER_WAIT_S):
                return await waiting.partner
        except TimeoutError:
            return response
        finally:
            if self._waiting is waiting:
                self._waiting = None

    async def send_twice(
        self, request: web.Request, response: web.StreamResponse, fault: Fault
    ) -> web.StreamResponse:
        """Send a response, and its copy when the fault demands; do nothing for other faults."""
        if fault not in {Fault.DUPLICATE, Fault.IDLE_DUPLICATE, Fault.LATE_DUPLICATE}:
            return response
        await response.prepare(request)
        await response.write_eof()
        fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        head = f"HTTP/1.1 {response.status} {response.reason}\r\n{fields}\r\n"
        copy = head.encode() + body_of(response)
        if fault is Fault.DUPLICATE:
            write_raw(request.transport, copy)
            return response
        self._copies[request.protocol] = copy
        if fault is Fault.IDLE_DUPLICATE:
            loop = asyncio.get_running_loop()
            loop.call_later(_IDLE_S, self.send_late_copy, request.protocol)
        return response
