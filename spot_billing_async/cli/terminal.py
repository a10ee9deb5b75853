"""Standard streams that show texts of a server on a terminal without obeying them."""

import codecs
import io
import sys
from typing import TYPE_CHECKING, TextIO

from spot_billing_async.errors import printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class TerminalStream(io.TextIOWrapper):
    """Text stream on a terminal that escapes every control and invisible character but newlines.

    Bytes written to its `buffer`, which are UTF-8, are escaped too. The terminal gets its own
    encoding: where that has 8 bits, some bytes of UTF-8 would be control characters.

    Args:
        stream: stream of the terminal.

    Attributes:
        unfiltered: the stream itself, for what may hold colours and cursor movements.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        super().__init__(_TerminalBuffer(stream), "utf-8", "backslashreplace", line_buffering=True)
        stream.reconfigure(errors="backslashreplace")
        self.unfiltered: io.TextIOWrapper = stream


class _TerminalBuffer(io.BufferedIOBase):
    """Binary side of a `TerminalStream`."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self.name: str = stream.name
        # Incremental, as a write may end inside a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, content: "ReadableBuffer", /) -> int:
        text = printable_lines(self._decoder.decode(bytes(content)))
        self._stream.buffer.write(text.encode(self._stream.encoding, "backslashreplace"))
        return memoryview(content).nbytes

    def flush(self) -> None:
        self._stream.flush()


def protect_terminals() -> None:
    """Replace standard output and standard error, each where it is a terminal.

    Standard output to a pipe or a file becomes UTF-8 in any locale, as JSON and CSV are.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        is_replaced = isinstance(stream, TerminalStream)
        if isinstance(stream, io.TextIOWrapper) and stream.isatty() and not is_replaced:
            setattr(sys, name, TerminalStream(stream))
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8")


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream for colours and cursor movements, which takes printable texts only."""
    return stream.unfiltered if isinstance(stream, TerminalStream) else stream
