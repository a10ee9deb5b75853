"""Decompression of gzip bodies in bounded steps, without I/O.

aiohttp can decompress too, but it wakes its reader only for decompressed bytes, so bytes that
decompress to nothing would not be counted; and it accepts a body that ends in the middle.
"""

import zlib
from collections.abc import Iterator

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
        """Decompress bytes into pieces of at most `STEP_BYTES`.

        Raises:
            zlib.error: the bytes are not gzip, or have more members than any real body.
        """
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
