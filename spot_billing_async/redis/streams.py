"""Streams of a Redis server: the few commands that a shared quota needs.

Whatever goes wrong is raised as it is: whoever calls treats all of it alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.redis.replica import stamp_s

BATCH = 200
"""Entries that are read in one go."""

_KEPT_S = 7200  # for which a stream outlives its last use: twice the longest wait

Row = tuple[str, bytes]
"""An entry: its id and what it holds."""


class Addition(NamedTuple):
    """What is to be written.

    Attributes:
        key: of the stream.
        data: what the entry holds.
        kept_from: id of an entry; what is older may be cut off. None cuts nothing.
    """

    key: str
    data: bytes
    kept_from: str | None


class _Commands(Protocol):
    """The part of `redis` that is used; it says of its commands less than there is to say."""

    async def execute_command(self, *words: object) -> Any: ...  # noqa: ANN401


class Streams:
    """The streams of one server. Each exchange may be cancelled; its connection is closed then.

    Args:
        url: of the server.
    """

    def __init__(self, url: Secret) -> None:
        self._redis = Redis.from_url(
            url.reveal(),
            protocol=2,
            socket_timeout=None,  # whoever calls bounds each exchange
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),  # an entry is not to be written twice
        )
        self._commands = cast("_Commands", self._redis)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def time_s(self) -> float:
        """The server's time, in seconds since 1970."""
        seconds, microseconds = await self._commands.execute_command("TIME")
        return float(seconds + microseconds / 1e6)

    async def begin(self, key: str, first_id: str, data: bytes) -> None:
        """Write the first entry of a stream, unless there is one."""
        try:
            await self._commands.execute_command("XADD", key, first_id, "e", data)
        except ResponseError:
            # Refused as its id is not above the last one; else the next command meets the cause.
            return

    async def write(self, additions: Sequence[Addition]) -> dict[str, float]:
        """Write entries, in one exchange; each stream is kept for two hours from then.

        Returns:
            The seconds by which each stream's stamp is ahead of the server's clock. Stamps never go
            back, so where the clock did, they stand still until it is there again.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for key, data, kept_from in additions:
            cut = () if kept_from is None else ("MINID", "~", kept_from)
            pipeline.execute_command("XADD", key, *cut, "*", "e", data)
            pipeline.execute_command("EXPIRE", key, _KEPT_S)
        pipeline.execute_command("TIME")
        *answers, (seconds, microseconds) = await pipeline.execute()
        time_s = seconds + microseconds / 1e6
        written = zip(additions, answers[::2], strict=True)
        return {key: stamp_s(entry_id.decode()) - time_s for (key, _, _), entry_id in written}

    async def drop(self, keys: Iterable[str]) -> None:
        """Remove streams."""
        await self._commands.execute_command("DEL", *keys)

    async def after(self, key: str, entry_id: str | None) -> list[Row]:
        """A batch of a stream's entries after one of them, or from its first; [] at its end."""
        first = "-" if entry_id is None else f"({entry_id}"
        rows = await self._commands.execute_command("XRANGE", key, first, "+", "COUNT", BATCH)
        return _rows(rows)

    async def next(self, lasts: Mapping[str, str], block_s: float) -> list[tuple[str, list[Row]]]:
        """What comes after the last entries of streams, waiting for it; [] where nothing comes."""
        found = await self._commands.execute_command(
            *("XREAD", "COUNT", BATCH, "BLOCK", int(block_s * 1000), "STREAMS"),
            *lasts.keys(),
            *lasts.values(),
        )
        return [(key.decode(), _rows(rows)) for key, rows in found]


def _rows(rows: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Row]:
    return [(entry_id.decode(), fields.get(b"e", b"")) for entry_id, fields in rows]
