"""Where batches of rows go. A sink blocks: it is used from a worker thread, one call at a time."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from spot_billing_async.bulk.records import Batch
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.export.files import PendingFile


class ExportError(SpotBillingError):
    """Costs could not be written, or not exactly; the message names the file and why."""


class Sink(Protocol):
    """Takes batches; ends with one `commit`, or with `discard`, which may be called at any time."""

    def write(self, batch: Batch) -> None:
        """Take a batch in."""
        ...

    def commit(self) -> None:
        """Make what was taken in final."""
        ...

    def discard(self) -> None:
        """Forget what was taken in, where that is still possible."""
        ...


class TextFileSink:
    """A file of encoded batches after a header."""

    def __init__(self, path: Path, encode: Callable[[Batch], bytes], header: bytes = b"") -> None:
        self._file = PendingFile(path)
        self._encode = encode
        self._file.stream.write(header)
        self.commit = self._file.commit
        self.discard = self._file.discard

    def write(self, batch: Batch) -> None:
        """Append a batch."""
        self._file.stream.write(self._encode(batch))


class StdoutSink:
    """Encoded batches on standard output; what is out cannot be taken back."""

    def __init__(self, encode: Callable[[Batch], bytes]) -> None:
        self._stream: BinaryIO = sys.stdout.buffer
        self._encode = encode

    def write(self, batch: Batch) -> None:
        """Print a batch."""
        self._stream.write(self._encode(batch))
        self._stream.flush()

    def commit(self) -> None:
        """Everything is out."""

    def discard(self) -> None:
        """Nothing is left to forget."""
