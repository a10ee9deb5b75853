"""Reading of bodies, and decompression of gzip in bounded steps.

aiohttp can decompress too, but it wakes its reader only for decompressed bytes, so bytes that
decompress to nothing would not be counted; and it accepts a body that ends in the middle.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence

from spot_billing_async.errors import ResponseTooLargeError

STEP_BYTES = 256 * 1024
"""Most bytes that one step returns, whatever the compression ratio."""

_GZIP = 16 + zlib.MAX_WBITS
_MAX_MEMBERS = 1000  # a body has few members; each further one copies the bytes after it


class Gunzip:
    """Decompressor of one body."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._members = 1

    @property
    def is_complete(self) -> bool:
        """True if the bytes so far end where a gzip member ends."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress gzip of at most 1000 members into pieces of at most `STEP_BYTES`."""
        has_more = False
        while data or has_more:
            if self._inflate.eof:
                data = data.lstrip(b"\0")  # padding, as gzip itself ignores it
                if not data:
                    return
                self._members += 1
                if self._members > _MAX_MEMBERS:
                    raise zlib.error("too many members")
                self._inflate = zlib.decompressobj(_GZIP)
            piece = self._inflate.decompress(data, STEP_BYTES)
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            # A full piece may leave output inside zlib that needs no further input.
            has_more = len(piece) == STEP_BYTES and not self._inflate.eof
            yield piece


async def read_pieces(
    chunks: AsyncIterator[bytes], codings: Sequence[str], max_bytes: int
) -> list[bytes]:
    """Read a body in pieces, decompressed; the limit holds before and after decompression."""
    if codings not in ([], ["gzip"]):
        raise zlib.error("its Content-Encoding was not asked for")
    gunzip = Gunzip() if codings else None
    pieces = []
    received_bytes = size_bytes = 0
    async for chunk in chunks:
        received_bytes += len(chunk)
        check_size(received_bytes, max_bytes)
        for piece in (chunk,) if gunzip is None else gunzip.feed(chunk):
            size_bytes += len(piece)
            check_size(size_bytes, max_bytes)
            pieces.append(piece)
            if len(piece) == STEP_BYTES:  # much may follow: let the event loop go on
                await asyncio.sleep(0)
    if gunzip is not None and received_bytes and not gunzip.is_complete:
        raise zlib.error("it ends in the middle")
    return pieces


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Raise `ResponseTooLargeError` if a body is larger than the limit."""
    if size_bytes > max_bytes:
        problem = f"the body has more than max_response_bytes ({max_bytes} bytes)"
        raise ResponseTooLargeError(problem)
