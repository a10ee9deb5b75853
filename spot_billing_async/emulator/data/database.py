"""Embedded DuckDB database, in a file or in memory, used by threads and never by the event loop.

Reads run concurrently, each on its own cursor over a snapshot. Writes run one at a time on a thread
of their own, each in a transaction: DuckDB writes its log to disk before a commit returns, so
acknowledged changes survive a kill -9.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from spot_billing_async.emulator.data.query_cache import CachedResult, QueryCache

T = TypeVar("T")

Cursor = duckdb.DuckDBPyConnection

_READER_THREADS = 4

# The scale of charge.cost grows with the ingested amounts (see ledger.py) and starts at what most
# bills need. It is never 0, so that the text of a sum always has a decimal point.
_SCHEMA = """
CREATE SEQUENCE IF NOT EXISTS source_number;
CREATE TABLE IF NOT EXISTS source (
    source_id BIGINT NOT NULL, path VARCHAR NOT NULL, digest VARCHAR NOT NULL, bucket VARCHAR,
    row_count BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS charge (
    source_id BIGINT NOT NULL, account_id VARCHAR NOT NULL, cloud_provider VARCHAR,
    service VARCHAR, region VARCHAR, day DATE NOT NULL, currency VARCHAR NOT NULL,
    cost DECIMAL(38, 10) NOT NULL
);
CREATE TABLE IF NOT EXISTS account (
    source_id BIGINT NOT NULL, account_id VARCHAR NOT NULL, billing_account_id VARCHAR,
    cloud_provider VARCHAR
);
CREATE TABLE IF NOT EXISTS setup (
    product VARCHAR NOT NULL, billing_account_id VARCHAR NOT NULL,
    cloud_provider VARCHAR NOT NULL, bucket VARCHAR
);
CREATE SEQUENCE IF NOT EXISTS family_number;
CREATE TABLE IF NOT EXISTS family (
    number BIGINT NOT NULL, family_id VARCHAR NOT NULL, name VARCHAR NOT NULL,
    description VARCHAR, account_ids VARCHAR[] NOT NULL
);
"""


class DatabaseError(ValueError):
    """Database file that is in use, not a DuckDB file, or holds other data."""


class Database:
    """Persistent state of the emulator: charges and accounts of the ledger, setups, families.

    Args:
        db: the database file, created if it does not exist; None keeps the data in memory.

    Raises:
        DatabaseError: the file cannot be opened as a database of the emulator.
    """

    def __init__(self, db: Path | None = None) -> None:
        try:
            self._connection = duckdb.connect(
                ":memory:" if db is None else str(db),
                # DuckDB would download extensions from the network without asking.
                config={
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                },
            )
            self._connection.execute(_SCHEMA)
        except duckdb.Error as error:
            raise DatabaseError(f"{db}: {error}") from error
        self._active_cursors: set[Cursor] = set()
        self._cache = QueryCache()
        self._readers = ThreadPoolExecutor(_READER_THREADS, thread_name_prefix="emulator-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="emulator-write")

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` on a reader thread; it sees only committed data."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run_read, work)

    async def read_cached(
        self, query: Hashable, work: Callable[[Cursor], Sequence[Any] | None]
    ) -> Sequence[Any] | None:
        """Return the cached result of `query`, or run `work` like `read` and cache what it returns.

        The result is shared between callers and must not be modified.
        """
        cached = self._cache.get(query)
        if cached is not None:
            return cached.rows

        def run_and_cache(cursor: Cursor) -> Sequence[Any] | None:
            # A concurrent call may have run the same query meanwhile.
            result = self._cache.get(query)
            if result is None:
                epoch = self._cache.epoch  # taken before the read begins: a commit may follow
                result = CachedResult(epoch, work(cursor))
                self._cache.put(query, result)
            return result.rows

        return await self.read(run_and_cache)

    async def write(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` in a transaction of its own, which is on disk when this returns.

        Any exception of `work` rolls the transaction back.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writer, self._run_write, work)

    def close(self) -> None:
        """Interrupt running queries, stop the threads and close the file."""
        # A copy, as the threads change the set meanwhile.
        for cursor in list(self._active_cursors):
            cursor.interrupt()
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        self._connection.close()
        # aiohttp caches the handlers of past applications, and through them this object: without
        # the deletion, the connection would live as long as that cache.
        del self._connection

    def _run_read(self, work: Callable[[Cursor], T]) -> T:
        with self._cursor() as cursor:
            return work(cursor)

    def _run_write(self, work: Callable[[Cursor], T]) -> T:
        with self._cursor() as cursor:
            cursor.begin()
            try:
                result = work(cursor)
            except BaseException:
                cursor.rollback()
                raise
            with self._cache.invalidating():
                cursor.commit()
            return result

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        with self._connection.cursor() as cursor:
            self._active_cursors.add(cursor)
            try:
                yield cursor
            finally:
                self._active_cursors.discard(cursor)


def one_row(cursor: Cursor) -> tuple[Any, ...]:
    """Return the only row of an aggregate without groups."""
    row: tuple[Any, ...] | None = cursor.fetchone()
    if row is None:
        raise LookupError("an aggregate without groups returned no row")
    return row
