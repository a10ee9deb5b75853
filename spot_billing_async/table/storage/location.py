"""Where a table is. What is wrong with a place is found before anything is made or sent.

deltalake itself makes tables that it cannot read again, panics at some characters, fills any folder
that it is given, and says of a folder that may not be read that there is none.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from spot_billing_async.errors import ConfigError
from spot_billing_async.models.validation import checked_text

_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_REFUSED = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]^|\\]|[\x00-\x1f\x7f]")
"""What deltalake takes for something else in the path of a folder; found by trying."""

_LOG = "_delta_log"


def checked_place(table: object) -> str:
    """The place of a table as text.

    Raises:
        ConfigError: it is neither text nor a path, or has characters that deltalake cannot read.
    """
    text = os.fspath(table) if isinstance(table, os.PathLike) else table
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(
            f"table: {table!r} is not allowed; allowed: text or a path that is not empty"
        )
    checked_text("table", text)
    if _URI.match(text):
        return text
    folder = Path(text)
    met = sorted({each.group() for each in _REFUSED.finditer(str(folder.absolute()))})
    if met:
        raise ConfigError(
            f"table: {text!r} has {' '.join(map(ascii, met))} in its path; allowed: a folder "
            "without [ ] ^ | \\, control characters, or % before two hex digits"
        )
    # The ledger's place is the name and a suffix: '.' and '..' are no names.
    return str(folder.resolve() if folder.name in {"", ".."} else folder)


def local_folder(uri: str) -> Path | None:
    """The folder that a place is; None for an object store."""
    if not _URI.match(uri):
        return Path(uri).absolute()
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def problem_of(folder: Path, *, to_write: bool) -> str | None:
    """Why a folder, or the one that it is to be made in, cannot be used; None where it can."""
    if not os.path.lexists(folder) and folder != folder.parent:
        return problem_of(folder.parent, to_write=to_write)
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    for each in (folder, folder / _LOG):
        if each.exists() and not os.access(each, _mode(to_write=to_write)):
            verb = "written" if os.access(each, _mode(to_write=False)) else "read"
            return f"permission denied: {str(each)!r} may not be {verb}"
    return None


def is_taken(folder: Path) -> bool:
    """Whether something else than a Delta table is in a folder that may be read."""
    # One look, as somebody may be making the table at this moment: its log comes first.
    there = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    return bool(there) and _LOG not in there


def _mode(*, to_write: bool) -> int:
    return os.R_OK | os.X_OK | (os.W_OK if to_write else 0)
