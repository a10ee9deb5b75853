"""The async skin of an export: it collects rows, and has a worker thread write them."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import anyio
import msgspec

from spot_billing_async.bulk.outcome import Fetched, PullReport
from spot_billing_async.bulk.records import csv_header, csv_records, json_lines
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.errors import ConfigError
from spot_billing_async.export.sinks import ExportError, Sink, StdoutSink, TextFileSink
from spot_billing_async.models import CostItem

R = TypeVar("R")

ENDINGS = (".jsonl", ".csv", ".parquet")
STDOUT = "-"

_BATCH_ROWS = 4_096
"""Rows that are kept as structs before they are written: two megabytes, which caches hold, and a
few milliseconds in which the thread that writes them may keep the event loop waiting."""


class CostWriter:
    """Writes the rows of a pull: an async context manager, made by `open_writer`.

    Leaving the block normally puts the file under its name. Leaving it by an exception, or before
    any outcome was written, removes what is there, and an earlier file of that name stays as it
    was: a pull of which nothing came does not wipe out the last one.
    """

    def __init__(
        self, name: str, open_sink: Callable[[], Sink], batch_rows: int = _BATCH_ROWS
    ) -> None:
        self._name = name
        self._open_sink = open_sink
        self._batch_rows = batch_rows
        self._sink: Sink | None = None
        self._waiting: list[Fetched[CostItem]] = []
        self._waiting_rows = 0
        self._was_entered = False
        self._took_any = False
        self._taken_rows = 0
        self._written_rows = 0
        self._lock = threading.Lock()

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise ConfigError("writer: it was entered before; allowed: one 'async with' a writer")
        self._was_entered = True
        self._sink = await self._in_thread(self._open_sink)
        return self

    async def write(self, outcome: Fetched[CostItem]) -> None:
        """Take the rows of an outcome; now and then this waits until a batch is written.

        An outcome that was taken is in the file once the block is left, also where the wait is
        cancelled.

        Raises:
            ExportError: the rows could not be written, or an amount has no exact place in the file.
        """
        self._opened()
        self._taken_rows += len(outcome.items)
        self._took_any = True
        for start in range(0, len(outcome.items), _BATCH_ROWS):
            part = msgspec.structs.replace(
                outcome, items=outcome.items[start : start + _BATCH_ROWS]
            )
            self._waiting.append(part)
            self._waiting_rows += len(part.items)
            if self._waiting_rows >= self._batch_rows:
                await self._flush()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sink = self._opened()
        try:
            if kind is None and self._took_any:
                await self._flush()
                await self._in_thread(self._commit)
        finally:
            await self._in_thread(sink.discard)
            self._sink = None

    async def _flush(self) -> None:
        batch, self._waiting, self._waiting_rows = self._waiting, [], 0
        if batch:
            await self._in_thread(lambda: self._write(batch))

    def _write(self, batch: list[Fetched[CostItem]]) -> None:
        self._opened().write(batch)
        self._written_rows += sum(len(outcome.items) for outcome in batch)

    def _commit(self) -> None:
        # A batch that failed, or was cancelled on its way, and a caller who went on regardless.
        if self._written_rows != self._taken_rows:
            raise ExportError(
                f"{self._name}: only {self._written_rows} of {self._taken_rows} rows were written"
            )
        self._opened().commit()

    def _opened(self) -> Sink:
        if self._sink is None:
            raise ConfigError("writer: it is not open; allowed: writing inside its 'async with'")
        return self._sink

    async def _in_thread(self, work: Callable[[], R]) -> R:
        """Do blocking work elsewhere, in order, whatever is cancelled meanwhile."""

        def locked() -> R:
            with self._lock:
                return work()

        try:
            with anyio.CancelScope(shield=True):
                result = await anyio.to_thread.run_sync(locked)
        except OSError as error:
            raise ExportError(f"{self._name}: {error.strerror or error}") from error
        return result


def open_writer(path: str | Path) -> CostWriter:
    """A writer of costs, in the format that the file's ending names.

    The file is written beside its name, and renamed when the `async with` block is left normally.

    Args:
        path: ends in .jsonl (JSON lines), .csv or .parquet; "-" is JSON lines on standard output.

    Raises:
        ConfigError: the ending is another one, or (on entering the block) no file can be written
            there.
        MissingExtraError: on entering the block: Parquet needs the extra `export`.
    """
    if str(path) == STDOUT:
        # Each outcome at once: somebody may be looking.
        return CostWriter("standard output", lambda: StdoutSink(json_lines), batch_rows=1)
    path = Path(path)
    match path.suffix.lower():
        case ".jsonl":
            return CostWriter(str(path), lambda: TextFileSink(path, json_lines))
        case ".csv":
            return CostWriter(str(path), lambda: TextFileSink(path, csv_records, csv_header()))
        case ".parquet":
            return CostWriter(str(path), lambda: _parquet_sink(path))
        case ending:
            raise ConfigError(
                f"path: the ending {ending!r} of {str(path)!r} is unknown; allowed: "
                f"{', '.join(ENDINGS)}, or {STDOUT!r} for standard output"
            )


async def write_costs(run: PullRun[CostItem], path: str | Path) -> PullReport:
    """Drain a run into a file.

    The file holds the slices that came. Those that failed are not in it: the report counts them,
    and its `complete` says whether there are none. Where no slice came, no file is written.

    Args:
        run: an entered run.
        path: as for `open_writer`.

    Returns:
        The books of the run, all slices handed over.

    Raises:
        ConfigError: nothing can be written under this path.
        ExportError: writing failed; the file was not touched.
    """
    async with open_writer(path) as writer:
        async for outcome in run:
            if isinstance(outcome, Fetched):
                await writer.write(outcome)
    return run.report


def _parquet_sink(path: Path) -> Sink:
    # Late: pyarrow belongs to an extra.
    from spot_billing_async.export.parquet import ParquetSink  # noqa: PLC0415  see above

    return ParquetSink(path)
