"""Async writer of exports: collects rows and writes them in a worker thread."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import msgspec

from spot_billing_async.bulk.outcome import Fetched, PullReport
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.errors import ConfigError
from spot_billing_async.export.formats import STDOUT, sink_factory
from spot_billing_async.export.sinks import ExportError, Sink
from spot_billing_async.models import CostItem

R = TypeVar("R")

_BATCH_ROWS = 4_096
"""Rows collected as structs before they are written: about 2 MB, which fit the CPU's caches. The
thread that writes them may hold the GIL, and so block the event loop, for a few milliseconds."""


class CostWriter:
    """Writer of the rows of a pull: an async context manager, made by `open_writer`.

    Leaving the block normally renames the file to its target name. Leaving it by an exception, or
    before an outcome was written, removes the new file and keeps an earlier one of that name, so a
    pull without any result does not replace the last export.
    """

    def __init__(
        self, name: str, open_sink: Callable[[], Sink], batch_rows: int = _BATCH_ROWS
    ) -> None:
        self._name = name
        self._open_sink = open_sink
        self._batch_rows = batch_rows
        self._sink: Sink | None = None
        self._pending: list[Fetched[CostItem]] = []
        self._pending_rows = 0
        self._was_entered = False
        self._has_outcomes = False
        self._added_rows = 0
        self._written_rows = 0
        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise ConfigError("this writer was entered before; make another one with open_writer()")
        self._was_entered = True
        self._sink = await self._in_thread(self._open_sink)
        return self

    async def write(self, outcome: Fetched[CostItem]) -> None:
        """Add the rows of an outcome; wait until a batch is written when enough are collected.

        The outcome is in the file after the block, even if this wait is cancelled.

        Raises:
            ConfigError: the writer is not open.
            ExportError: the rows could not be written, or an amount does not fit the file exactly.
        """
        self._opened()
        self._added_rows += len(outcome.items)
        self._has_outcomes = True
        for start in range(0, len(outcome.items), _BATCH_ROWS):
            part = msgspec.structs.replace(
                outcome, items=outcome.items[start : start + _BATCH_ROWS]
            )
            self._pending.append(part)
            self._pending_rows += len(part.items)
            if self._pending_rows >= self._batch_rows:
                await self._flush()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sink = self._opened()
        try:
            if kind is None and self._has_outcomes:
                await self._flush()
                await self._in_thread(self._commit)
        finally:
            await self._in_thread(sink.discard)
            self._sink = None

    async def _flush(self) -> None:
        batch, self._pending, self._pending_rows = self._pending, [], 0

        def write_batch() -> None:
            self._opened().write(batch)
            # Counted in the thread, as a cancelled wait does not stop the write.
            self._written_rows += sum(len(outcome.items) for outcome in batch)

        if batch:
            await self._in_thread(write_batch)

    def _commit(self) -> None:
        # A batch may have failed or been cancelled, and the caller may have continued regardless.
        if self._written_rows != self._added_rows:
            raise ExportError(
                f"{self._name}: only {self._written_rows} of {self._added_rows} rows were written"
            )
        self._opened().commit()

    def _opened(self) -> Sink:
        if self._sink is None:
            raise ConfigError("this writer is not open; write inside its 'async with'")
        return self._sink

    async def _in_thread(self, work: Callable[[], R]) -> R:
        """Run blocking work in a thread; a cancellation does not interrupt it."""

        def locked() -> R:
            # `task.cancel()` ends the wait in spite of the shield. The lock makes the next work,
            # such as `discard`, wait until the thread is done.
            with self._lock:
                return work()

        try:
            with anyio.CancelScope(shield=True):
                result = await anyio.to_thread.run_sync(locked)
        except (OSError, MemoryError, RuntimeError) as error:  # or no thread can be started
            problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ExportError(f"{self._name}: {problem}") from error
        return result


def open_writer(path: str | Path, *, spreadsheet: bool = False) -> CostWriter:
    """Return a writer of costs in the format of the file's ending.

    The file is written under a hidden name in the same folder, and renamed when the `async with`
    block is left normally.

    Args:
        path: ends in .jsonl (JSON lines), .csv or .parquet; "-" writes JSON lines to standard
            output.
        spreadsheet: True for CSV that is opened in a spreadsheet: an apostrophe is written before
            each text that would be run as a formula. Texts that are numbers, such as -1.5, stay.

    Raises:
        ConfigError: the ending is another one, or `spreadsheet` is True and it is not .csv; or, on
            entering the block, no file can be written there.
        MissingExtraError: on entering the block, for Parquet without the extra `export`.
    """
    try:
        name: object = path
        is_path = isinstance(name, str | Path) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a surrogate pair
        is_path = False
    if not is_path:
        raise ConfigError(f"path must be the name of a file, got {path!r}")
    open_sink = sink_factory(path, spreadsheet=spreadsheet)
    if str(path) == STDOUT:
        # Each outcome is written at once, as a user or a pipe may be reading.
        return CostWriter("standard output", open_sink, batch_rows=1)
    return CostWriter(str(path), open_sink)


async def write_costs(
    run: PullRun[CostItem], path: str | Path, *, spreadsheet: bool = False
) -> PullReport:
    """Write all outcomes of a run to a file.

    The file holds the slices that were fetched. Slices that failed are not in it: the report counts
    them, and its `complete` is true if there are none. If no slice was fetched, no file is written.

    Args:
        run: an entered run.
        path: as for `open_writer`.
        spreadsheet: as for `open_writer`.

    Returns:
        The report of the run.

    Raises:
        ConfigError: the path is not valid or no file can be written there.
        ExportError: writing failed; an earlier file is unchanged.
    """
    async with open_writer(path, spreadsheet=spreadsheet) as writer:
        async for outcome in run:
            if isinstance(outcome, Fetched):
                await writer.write(outcome)
    return run.report
