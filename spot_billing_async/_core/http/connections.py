"""Kept connections of the transport, and the body of a request. They extend classes of aiohttp."""

import asyncio
import select
from contextvars import ContextVar
from ssl import SSLContext
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from spot_billing_async._core.http.call_record import CallRecord

current: ContextVar[CallRecord] = ContextVar("record")
"""Record of the call that a connection is for: aiohttp passes nothing of it to its pool."""


class Body(bytes):
    """Body of a request; `is_sent` is False if certainly not a byte of head or body was written."""

    is_sent = False


@aiohttp.payload_type(Body)
class _BodyWriter(aiohttp.BytesPayload):
    _value: Body

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:  # noqa: ANN401, ARG002  aiohttp's one writer; the body's own length
        """Write head and body, and note whether the system accepted anything of them."""
        transport = writer.transport
        try:
            # Without a wait, during which the connection might end after the first bytes.
            await writer.write(self._value, drain=False)
        finally:
            # A transport is closing if it was before the write, or if the write failed at once.
            if transport is not None and not transport.is_closing():
                self._value.is_sent = True


class CleanConnector(aiohttp.TCPConnector):
    """Connection pool that does not reuse a connection on which anything arrived while it was idle.

    aiohttp keeps such bytes, and would return them as the response to the next request: another
    account's rows, or another tenant's. A request whose kept connection has died gets a new one:
    others that are idle may be as dead.
    """

    def __init__(self, *, limit: int, ssl: SSLContext | bool, keepalive_s: float | None) -> None:
        super().__init__(
            limit=limit,
            ssl=ssl,
            keepalive_timeout=keepalive_s,
            force_close=keepalive_s is None,
            # Names are resolved for each new connection, as the last one may have failed because
            # they changed. Lookups at the same time are still shared.
            ttl_dns_cache=0,
        )
        self.generation = 0  # of new connections; one of an earlier generation is not reused
        # One per connection: one per request took 1.4 % more instructions of a small call.
        self._polls: dict[ResponseHandler, tuple[select.poll, int]] = {}

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's own parameter
    ) -> aiohttp.connector.Connection:
        """Return a new connection, or a kept one on which nothing arrived; close the others."""
        record = current.get()
        if record.is_timed:
            record.lap("queued_s")
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  it is open
            known = self._polls.get(protocol)
            poll, generation = known or self._watch(protocol)
            # Bytes are still in the kernel if the host's own code blocked the event loop meanwhile.
            has_unread = bool(poll.poll(0))
            if has_unread:
                # Over TLS 1.3 it may be a session ticket. Two turns of the loop read it, or find
                # more: one until the selector reports the socket, one until its callback has run.
                try:
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    connection.close()  # it would stay in use for ever
                    raise
                has_unread = connection.closed or bool(poll.poll(0))
            is_clean = not (has_unread or protocol.should_close or generation != self.generation)
            if is_clean and (known is None or not record.needs_new):
                record.silent_s, record.is_kept = 0.0, known is not None
                if record.is_timed:
                    record.lap("connect_s")
                return connection
            connection.close()
            if known is None:
                raise aiohttp.ServerDisconnectedError("a response came before the request")

    def _watch(self, protocol: ResponseHandler) -> tuple[select.poll, int]:
        """Make the poll of a new connection, and drop those of connections that are closed."""
        if len(self._polls) > 2 * self.limit:
            self._polls = {each: poll for each, poll in self._polls.items() if each.is_connected()}
        poll = select.poll()
        transport = protocol.transport
        assert transport is not None  # noqa: S101  it is connected
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self._polls[protocol] = watched = poll, self.generation
        return watched
