"""TCP proxy in front of a Redis server that loses answers and cuts connections."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum

_CHUNK_BYTES = 65_536


class Loss(Enum):
    """Loss of an answer."""

    WITH_CONNECTION = "the connection is reset in place of the answer"
    SILENT = "the connection stays open, without this answer and any later one"


class LossyProxy:
    """Proxy that forwards to a port, and loses answers by chance; commands always arrive.

    Attributes:
        port: its port.
        loss_share: share of the chunks of answers that are lost.
        losses: kinds of loss to choose from.
        lost: number of chunks that were lost.
    """

    def __init__(self, target_port: int, seed: int = 0) -> None:
        self.port = 0
        self.loss_share = 0.0
        self.losses = list(Loss)
        self.lost = 0
        self._target_port = target_port
        self._chance = random.Random(seed)  # noqa: S311  a seeded scenario, no secret
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """URL of the server through the proxy."""
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection of a client."""
        try:
            up = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, up[1]}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._forward(reader, up[1], loses=False))
                tasks.create_task(self._forward(up[0], writer, loses=True))
        finally:
            self._writers -= both
            for each in both:
                each.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, loses: bool
    ) -> None:
        is_silent = False
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if loses and self._chance.random() < self.loss_share:
                    self.lost += 1
                    if self._chance.choice(self.losses) is Loss.WITH_CONNECTION:
                        break
                    is_silent = True
                if not is_silent:
                    writer.write(chunk)
                    await writer.drain()
        # Ends the other direction as well.
        writer.transport.abort()


@asynccontextmanager
async def lossy_proxy(target_port: int, seed: int = 0) -> AsyncIterator[LossyProxy]:
    """Run a proxy until the block ends."""
    proxy = LossyProxy(target_port, seed)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.gather(*tasks, return_exceptions=True)
