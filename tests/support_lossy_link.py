"""A TCP relay over a bad link: lost segments, jitter, and minutes in which nothing passes."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_SEGMENT_BYTES = 1_400


class LossyLink:
    """Relay in front of a server, which passes segments late, or never.

    After a lost segment nothing more passes in that direction of the connection, as when a firewall
    has forgotten it: the other end waits for bytes that never come.

    Args:
        target_port: port of the server.
        loss: share of the segments that are lost.
        jitter_s: largest delay of a segment.
        seed: seed of losses and delays.

    Attributes:
        is_down: True while no segment passes, in connections of before and of now.
        lost: segments lost so far.
    """

    def __init__(self, target_port: int, *, loss: float, jitter_s: float, seed: int) -> None:
        self._target_port = target_port
        self._loss = loss
        self._jitter_s = jitter_s
        self._draw = random.Random(seed)  # noqa: S311  reproducible
        self._is_up = asyncio.Event()
        self._is_up.set()
        self.lost = 0

    @property
    def is_down(self) -> bool:
        """True while nothing passes."""
        return not self._is_up.is_set()

    async def fail(self, seconds: float) -> None:
        """Take the link down for some seconds."""
        self._is_up.clear()
        await asyncio.sleep(seconds)
        self._is_up.set()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        await self._is_up.wait()
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.gather(
                self._pass(reader, server_writer), self._pass(server_reader, writer)
            )
        finally:
            server_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_SEGMENT_BYTES):
            if self._draw.random() < self._loss or self.is_down:
                self.lost += 1
                while await reader.read(65_536):
                    pass
                return  # without closing: the other end notices nothing
            await asyncio.sleep(self._draw.random() * self._jitter_s)
            writer.write(data)
        writer.close()


@asynccontextmanager
async def lossy_link(
    target_port: int, *, loss: float, jitter_s: float, seed: int = 1
) -> AsyncIterator[tuple[str, LossyLink]]:
    """Run a link; yield its base URL and the link."""
    link = LossyLink(target_port, loss=loss, jitter_s=jitter_s, seed=seed)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await link.relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", link
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
