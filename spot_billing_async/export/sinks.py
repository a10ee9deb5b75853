"""Sinks: destinations of batches. They block, so a worker thread makes one call at a time."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from spot_billing_async.bulk.records import Batch
from spot_billing_async.errors import SpotBillingError, printable_lines
from spot_billing_async.export.atomic_file import PendingFile


class ExportError(SpotBillingError):
    """Costs could not be written, or not exactly; the message names the file and the reason."""


class Sink(Protocol):
    """Destination of batches; ended by one `commit`, or by `discard` at any time."""

    def write(self, batch: Batch) -> None:
        """Write a batch."""
        ...

    def commit(self) -> None:
        """Make the written batches final."""
        ...

    def discard(self) -> None:
        """Remove the written batches, if that is still possible."""
        ...


class TextFileSink:
    """File of encoded batches.

    Args:
        path: target name.
        encode: encodes a batch.
        header: bytes at the start of the file.
    """

    def __init__(self, path: Path, encode: Callable[[Batch], bytes], header: bytes = b"") -> None:
        self._file = PendingFile(path)
        self._encode = encode
        self._file.stream.write(header)
        self.commit: Callable[[], None] = self._file.commit
        self.discard: Callable[[], None] = self._file.discard

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        self._file.stream.write(self._encode(batch))


class StdoutSink:
    """Encoded batches on standard output, which cannot be removed again.

    On a terminal, control and invisible characters are escaped, as it would obey some of them.
    """

    def __init__(self, encode: Callable[[Batch], bytes]) -> None:
        self._stream: BinaryIO = sys.stdout.buffer
        self._encode = encode
        self._is_terminal = sys.stdout.isatty()

    def write(self, batch: Batch) -> None:
        """Write a batch to standard output."""
        content = self._encode(batch)
        if self._is_terminal:
            content = printable_lines(content.decode()).encode()
        self._stream.write(content)
        self._stream.flush()

    def commit(self) -> None:
        """Do nothing: every batch was flushed when it was written."""

    def discard(self) -> None:
        """Do nothing: standard output cannot be undone."""
