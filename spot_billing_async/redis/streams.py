"""Redis commands of a shared quota, over streams.

Errors are raised unchanged: the caller treats all of them alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.redis.replica import stamp_s
from spot_billing_async.redis.server import refuse_cluster

BATCH = 200
"""Maximum number of entries in one read."""

_EXPIRY_S = 7200  # of a stream after its last use: twice the longest pause of a limiter

StreamEntry = tuple[str, bytes]
"""Entry of a stream: its id and its data."""


class NewEntry(NamedTuple):
    """Entry to append.

    Attributes:
        key: key of the stream.
        data: encoded entry.
        kept_from: id of the oldest entry to keep, older ones may be removed; None removes nothing.
    """

    key: str
    data: bytes
    kept_from: str | None


class _Commands(Protocol):
    """Part of `Redis` used here, whose own annotations are incomplete."""

    async def execute_command(self, *words: object) -> Any: ...  # noqa: ANN401


class Streams:
    """Streams of one server. Any command may be cancelled, which closes its connection.

    Args:
        url: URL of the server.
        timeout_s: seconds for connecting and for closing a connection.
    """

    def __init__(self, url: Secret, timeout_s: float) -> None:
        self._redis = Redis.from_url(
            url.reveal(),
            protocol=2,
            socket_timeout=None,  # the caller bounds each command
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),  # a retry could append an entry twice
        )
        self._commands = cast("_Commands", self._redis)

    async def close(self) -> None:
        """Close the connections; a server that is halted cannot prevent that."""
        with suppress(RedisError, OSError):  # it does not read what was still to be sent to it
            await self._redis.aclose()

    async def refuse_cluster(self, user: str, timeout_s: float) -> None:
        """Raise a `ConfigError` if the server is a node of a Redis Cluster."""
        await refuse_cluster(self._redis, user, timeout_s)

    async def time_s(self) -> float:
        """Return the server's time, in seconds since 1970."""
        seconds, microseconds = await self._commands.execute_command("TIME")
        return float(seconds + microseconds / 1e6)

    async def create(self, key: str, first_id: str, data: bytes) -> None:
        """Append the first entry of a stream, unless it has one; it then expires in two hours."""
        pipeline = self._redis.pipeline()  # one transaction: a stream must not stay for ever
        pipeline.execute_command("XADD", key, first_id, "e", data)
        pipeline.execute_command("EXPIRE", key, _EXPIRY_S)
        with suppress(ResponseError):
            # Rejected because the id is not above the last one. Any other cause fails the next
            # command too.
            await pipeline.execute()

    async def append(self, entries: Sequence[NewEntry]) -> dict[str, float]:
        """Append entries in one round trip; each stream then expires in two hours.

        Returns:
            The seconds by which each stream's stamp is ahead of the server's clock. Stamps never
            decrease: after the clock was set back, they stand still until it has caught up.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for key, data, kept_from in entries:
            trim = () if kept_from is None else ("MINID", "~", kept_from)
            pipeline.execute_command("XADD", key, *trim, "*", "e", data)
            pipeline.execute_command("EXPIRE", key, _EXPIRY_S)
        pipeline.execute_command("TIME")
        *replies, (seconds, microseconds) = await pipeline.execute()
        time_s = seconds + microseconds / 1e6
        appended = zip(entries, replies[::2], strict=True)
        return {key: stamp_s(entry_id.decode()) - time_s for (key, _, _), entry_id in appended}

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete streams."""
        await self._commands.execute_command("DEL", *keys)

    async def read_after(self, key: str, entry_id: str | None) -> list[StreamEntry]:
        """Return a batch of entries after one, or from the first (None); empty at the end.

        A key that is not a stream is deleted. The processes could never share it.
        """
        first = "-" if entry_id is None else f"({entry_id}"
        try:
            rows = await self._commands.execute_command("XRANGE", key, first, "+", "COUNT", BATCH)
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            await self.delete([key])
            return []
        return _rows(rows)

    async def wait_for_next(
        self, last_ids: Mapping[str, str], block_s: float
    ) -> list[tuple[str, list[StreamEntry]]]:
        """Return the entries after the given last ids, by stream; empty if none come in time."""
        found = await self._commands.execute_command(
            *("XREAD", "COUNT", BATCH, "BLOCK", int(block_s * 1000), "STREAMS"),
            *last_ids.keys(),
            *last_ids.values(),
        )
        return [(key.decode(), _rows(rows)) for key, rows in found]


def _rows(rows: list[tuple[bytes, dict[bytes, bytes]]]) -> list[StreamEntry]:
    return [(entry_id.decode(), fields.get(b"e", b"")) for entry_id, fields in rows]
