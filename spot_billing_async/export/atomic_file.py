"""Atomic files: written under a temporary name and renamed when complete."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from spot_billing_async.errors import ConfigError


class PendingFile:
    """File that is written under a hidden name in its target folder.

    An existing file of the target name is unchanged until `commit`, and its permissions are kept.
    If the target is a symbolic link, the file that it points to is replaced, not the link.

    Args:
        path: target name.

    Attributes:
        stream: binary stream that writes to the hidden file.

    Raises:
        ConfigError: no file can be written there; the message names the path and the reason.
    """

    def __init__(self, path: Path) -> None:
        self._target = Path(os.path.realpath(path))
        self._temporary = self._target.with_name(
            f".{self._target.name}.{secrets.token_hex(4)}.partial"
        )
        try:
            if self._target.exists() and not self._target.is_file():
                raise FileExistsError(0, "it is a folder, a device or a pipe")
            self.stream: BinaryIO = self._temporary.open("xb")
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"cannot write the file {path}: {reason}") from error
        with contextlib.suppress(FileNotFoundError):
            self._temporary.chmod(stat.S_IMODE(self._target.stat().st_mode))

    def commit(self) -> None:
        """Write the file to disk and rename it to its target name.

        Raises:
            OSError: this failed; the target name is unchanged.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self._temporary.replace(self._target)
        # Makes the rename durable. The file is complete, so a folder that cannot be opened or
        # synchronized (some file systems refuse it) is not an error.
        with contextlib.suppress(OSError):
            folder = os.open(self._target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove the hidden file; do nothing after `commit`."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()
