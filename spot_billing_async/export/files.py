"""Files that appear whole or not at all: written beside their name, renamed when complete."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from spot_billing_async.errors import ConfigError


class PendingFile:
    """A file being written under a hidden name in the folder of its own.

    Until `commit`, what stood under the name stays untouched. A name that is a link keeps being
    one: what it leads to is replaced. A file that is replaced hands its permissions on.

    Args:
        path: the name it gets.

    Attributes:
        stream: where its bytes go.

    Raises:
        ConfigError: it cannot be written there; names the path and why.
    """

    def __init__(self, path: Path) -> None:
        self._target = Path(os.path.realpath(path))
        self._temporary = self._target.with_name(
            f".{self._target.name}.{secrets.token_hex(4)}.partial"
        )
        try:
            if self._target.exists() and not self._target.is_file():
                raise FileExistsError(0, "it is a folder, a device or a pipe")
            self.stream = self._temporary.open("xb")
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"{path}: no file can be written there: {reason}") from error
        with contextlib.suppress(FileNotFoundError):
            self._temporary.chmod(stat.S_IMODE(self._target.stat().st_mode))

    def commit(self) -> None:
        """Put the file, as it is now, under its name, and wait until the disk has it.

        Raises:
            OSError: it could not be done; nothing changed under its name.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        self._temporary.replace(self._target)
        # The file is there: a folder that cannot be read, or synchronised, does not undo that.
        with contextlib.suppress(OSError):
            folder = os.open(self._target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def discard(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()
