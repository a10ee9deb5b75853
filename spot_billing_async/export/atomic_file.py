"""Atomic files: written under a temporary name and renamed when complete."""

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from spot_billing_async.errors import ConfigError

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A folder on the way may be one that this process can enter but not list. Only Linux has O_PATH.
_ENTER = _FOLDER | getattr(os, "O_PATH", os.O_RDONLY)


class PendingFile:
    """File that is written under a hidden name in its target folder.

    An existing file of the target name is unchanged until `commit`, and its permissions are kept.
    If the target is a symbolic link, the file that it points to is replaced, not the link. A link
    of another user than this one or root, in a folder that both can write to, could point to any
    file of this user, so it is refused, wherever it is on the way.

    Args:
        path: target name.

    Attributes:
        stream: binary stream of the hidden file.

    Raises:
        ConfigError: no file can be written there; the message names the path and the reason.
    """

    def __init__(self, path: Path) -> None:
        self._folder: int | None = None
        try:
            link = _find_foreign_link(path)
            if link is not None:
                raise PermissionError(0, f"{link} is a link of another user")
            folder, self._name = os.path.split(os.path.realpath(path))
            self._temporary = f".{self._name}.{secrets.token_hex(4)}.partial"
            self._folder = _open_folder(folder)
            self.stream: BinaryIO = self._create()
        except (OSError, ValueError) as error:  # ValueError: a null character
            self._close_folder()
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"cannot write the file {path}: {reason}") from error

    def commit(self) -> None:
        """Write the file to disk and rename it to its target name.

        Raises:
            OSError: this failed; the target name is unchanged.
        """
        self.stream.flush()
        os.fsync(self.stream.fileno())
        self.stream.close()
        os.replace(self._temporary, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        # Makes the rename durable. The file is complete, so a folder that cannot be opened or
        # synchronized (some file systems refuse it) is not an error.
        with contextlib.suppress(OSError):
            folder = os.open(".", os.O_RDONLY, dir_fd=self._folder)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        self._close_folder()

    def discard(self) -> None:
        """Remove the hidden file; do nothing after `commit`."""
        with contextlib.suppress(OSError):
            self.stream.close()
        if self._folder is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._folder)
            self._close_folder()

    def _create(self) -> BinaryIO:
        # A path without a name is the root folder.
        name, permissions = self._name or ".", None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise FileExistsError(0, "it is a folder, a device or a pipe")
            permissions = stat.S_IMODE(status.st_mode)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # From the start: who opens a file while all can read it can read what is written later.
        mode = 0o666 if permissions is None else permissions
        descriptor = os.open(self._temporary, flags, mode, dir_fd=self._folder)
        if permissions is not None:
            os.fchmod(descriptor, permissions)  # regardless of the umask
        return os.fdopen(descriptor, "w+b")

    def _close_folder(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def _find_foreign_link(path: Path) -> Path | None:
    """Return a link on the way to `path` that belongs neither to this user nor to root."""
    pending, seen = [path.absolute()], set[Path]()
    while pending:
        target = pending.pop()
        for step in (*reversed(target.parents), target):
            if step not in seen and step.is_symlink():
                if step.lstat().st_uid not in {0, os.geteuid()}:
                    return step
                seen.add(step)
                pending.append(step.parent / step.readlink())
    return None


def _open_folder(path: str) -> int:
    """Open a folder by its real path; a link that came onto the way since is an error."""
    folder = os.open("/", _ENTER)
    for name in Path(path).parts[1:]:
        try:
            inner = os.open(name, _ENTER, dir_fd=folder)
        finally:
            os.close(folder)
        folder = inner
    return folder
