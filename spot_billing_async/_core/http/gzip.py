"""Bodies out of gzip, a bounded step at a time; pure.

aiohttp can do this too, but it wakes a reader only for what comes out: a flood that unpacks to
nothing would be counted by nobody. And it takes a body that ends in the middle for a whole one.
"""

import zlib
from collections.abc import Iterator

STEP_BYTES = 256 * 1024
"""What one step gives at most, however well it was packed."""

_GZIP = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 1000  # a body is one member, or a few; each more costs a copy of what follows it


class Gunzip:
    """Unpacks one body."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)
        self._members = 1

    @property
    def is_complete(self) -> bool:
        """Whether the bytes so far end where a member of the body ends."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take packed bytes; the pieces that they unpack to, of `STEP_BYTES` at most.

        Raises:
            zlib.error: they are no gzip, or of more members than any honest body has.
        """
        is_full = False
        while data or is_full:
            if self._inflate.eof:
                self._begin_member()
            piece = self._inflate.decompress(data, STEP_BYTES)
            data = self._inflate.unused_data or self._inflate.unconsumed_tail
            is_full = len(piece) == STEP_BYTES and not self._inflate.eof  # more may be inside
            yield piece

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > _MOST_MEMBERS:
            raise zlib.error("too many members")
        self._inflate = zlib.decompressobj(_GZIP)
