"""Location of a table: problems with it are found before anything is created or sent.

deltalake itself creates tables that it cannot read again, panics at some characters, writes into
any folder that it is given, and reports a folder without read permission as missing.
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
"""Characters that deltalake misreads in the path of a folder; found by trial."""

_LOG = "_delta_log"


def checked_location(table: object) -> str:
    """Return the location of a table as text.

    Raises:
        ConfigError: it is neither text nor a path, or has characters that deltalake cannot read.
    """
    text = os.fspath(table) if isinstance(table, os.PathLike) else table
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"table must be non-empty text or a path, got {table!r}")
    checked_text("table", text)
    if _URI.match(text):
        return text
    folder = Path(text)
    refused = sorted({each.group() for each in _REFUSED.finditer(str(folder.absolute()))})
    if refused:
        raise ConfigError(
            "table must be a folder without [ ] ^ | \\, control characters, or % before two hex "
            f"digits in its path, got {text!r} with {' '.join(map(ascii, refused))}"
        )
    # The location of the ledger is the name with a suffix: '.' and '..' need a real name.
    return str(folder.resolve() if folder.name in {"", ".."} else folder)


def local_folder(uri: str) -> Path | None:
    """Return the folder of a location; None for an object store."""
    if not _URI.match(uri):
        return Path(uri).absolute()
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


def access_problem(folder: Path, *, to_write: bool) -> str | None:
    """Return why a folder, or the nearest existing parent, cannot be used; None if it can."""
    if not os.path.lexists(folder) and folder != folder.parent:
        return access_problem(folder.parent, to_write=to_write)
    if not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    to_read = os.R_OK | os.X_OK
    for path in (folder, folder / _LOG):
        if path.exists() and not os.access(path, to_read | (os.W_OK if to_write else 0)):
            verb = "written" if os.access(path, to_read) else "read"
            return f"permission denied: {str(path)!r} may not be {verb}"
    return None


def has_other_content(folder: Path) -> bool:
    """Return whether a readable folder has content but is not a Delta table."""
    # Listed once: another process may be creating the table, which begins with its log.
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return bool(names) and _LOG not in names
