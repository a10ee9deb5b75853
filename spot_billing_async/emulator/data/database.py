"""The embedded DuckDB: one file or memory, worked on by threads, never by the event loop.

Reads run side by side, each on its own cursor over a snapshot. Writes run one at a time on a thread
of their own, each in a transaction: DuckDB writes its log to disk before a commit returns, so what
was acknowledged survives a kill -9.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from spot_billing_async.emulator.data.query_cache import Known, Memory

T = TypeVar("T")

Cursor = duckdb.DuckDBPyConnection

_READERS = 4

# `scale` of charge.cost grows with what is met (see ledger.py), and starts at what most bills need.
# It is never 0: a sum's text always has a decimal point.
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
    """The database file can't be used: it is in use, not a DuckDB file, or holds something else."""


class Store:
    """The emulator's state: charges and accounts of the ledger, setups, families.

    Args:
        db: the file that keeps it, made where missing; None keeps it in memory.

    Raises:
        DatabaseError: the file can't be opened as a database of the emulator.
    """

    def __init__(self, db: Path | None = None) -> None:
        try:
            self._connection = duckdb.connect(
                ":memory:" if db is None else str(db),
                # Nothing is ever fetched from the network on the quiet.
                config={
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                },
            )
            self._connection.execute(_SCHEMA)
        except duckdb.Error as error:
            raise DatabaseError(f"{db}: {error}") from error
        self._busy: set[Cursor] = set()
        self._memory = Memory()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="emulator-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="emulator-write")

    async def read(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` on a reading thread; it sees only what was committed."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._query, work)

    async def read_once(
        self, question: Hashable, work: Callable[[Cursor], Sequence[Any] | None]
    ) -> Sequence[Any] | None:
        """As `read`, but a question is worked on once, until something is written.

        Its result is shared: nobody may change it.
        """
        known = self._memory.recall(question)
        if known is not None:
            return known.rows

        def remembered(cursor: Cursor) -> Sequence[Any] | None:
            # Another that asked the same at the same time may have been first.
            known = self._memory.recall(question)
            if known is None:
                epoch = self._memory.epoch  # from before the reading begins
                known = Known(epoch, work(cursor))
                self._memory.keep(question, known)
            return known.rows

        return await self.read(remembered)

    async def write(self, work: Callable[[Cursor], T]) -> T:
        """Run `work` alone in a transaction, which is on disk when this returns.

        Whatever `work` raises undoes all that it wrote.
        """
        return await asyncio.get_running_loop().run_in_executor(self._writer, self._commit, work)

    def close(self) -> None:
        """Break off the work that has begun, and let go of threads and file."""
        for cursor in list(self._busy):
            cursor.interrupt()
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=True)
        self._connection.close()
        # aiohttp keeps handlers of past applications in a cache of its own, and so this object.
        del self._connection

    def _query(self, work: Callable[[Cursor], T]) -> T:
        with self._cursor() as cursor:
            return work(cursor)

    def _commit(self, work: Callable[[Cursor], T]) -> T:
        with self._cursor() as cursor:
            cursor.begin()
            try:
                result = work(cursor)
            except BaseException:
                cursor.rollback()
                raise
            with self._memory.changing():
                cursor.commit()
            return result

    @contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        with self._connection.cursor() as cursor:
            self._busy.add(cursor)
            try:
                yield cursor
            finally:
                self._busy.discard(cursor)


def one_row(cursor: Cursor) -> tuple[int, ...]:
    """The single row that an aggregate without groups always has."""
    row: tuple[int, ...] | None = cursor.fetchone()
    if row is None:
        raise LookupError("an aggregate without groups returned no row")
    return row
