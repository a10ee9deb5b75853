"""Credentials of the environment and of the credentials file, as the vendor's own tools use them.

The environment and the file hold tokens, so neither text is a variable of a frame that raises.
"""

import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.errors import ConfigError

_log = logging.getLogger("spot_billing_async")

_DEFAULT_PROFILE = "default"
_OPEN_TO_OTHERS = 0o066  # group or others may read or write


class Profile(NamedTuple):
    """Fields of one profile; None where it lacks one."""

    token: Secret | None = None
    account_id: str | None = None

    def over(self, other: "Profile") -> "Profile":
        """Return this profile with its missing fields taken from another one."""
        return Profile(self.token or other.token, self.account_id or other.account_id)


def variable(*names: str) -> str | None:
    """Return the first of some environment variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def credentials_path() -> Path:
    """Return the path of the credentials file."""
    path = variable("SPOTINST_SHARED_CREDENTIALS_FILE", "SPOTINST_CREDENTIALS_FILE")
    # Path.expanduser raises without a home directory; this leaves the path as it is.
    return Path(os.path.expanduser(path or "~/.spotinst/credentials"))  # noqa: PTH111  see above


def environment_profile() -> Profile:
    """Return the profile made of `SPOTINST_TOKEN` and `SPOTINST_ACCOUNT`."""
    token = os.environ.get("SPOTINST_TOKEN")
    return Profile(Secret(token) if token else None, variable("SPOTINST_ACCOUNT"))


def read_profile(name: str | None) -> Profile:
    """Read a profile of the credentials file; missing fields come from its `[default]`.

    Args:
        name: name of the profile. None reads `[default]`; neither it nor the file has to exist.

    Raises:
        ConfigError: the file cannot be read, or it has no profile of that name.
    """
    path = credentials_path()
    text = _read(path)
    if text is None:
        if name is None:
            return Profile()
        raise ConfigError(f"profile {name!r} cannot be read: {path} does not exist")
    profiles = _parse(text)
    if isinstance(profiles, str):
        raise ConfigError(f"{path} cannot be read: {profiles}")
    default = profiles.get(_DEFAULT_PROFILE, Profile())
    if name is None:
        return default
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(f"profile must be one of those in {path} ({known}), got {name!r}")
    return profiles[name].over(default)


def _read(path: Path) -> Secret | None:
    """Return the text of the file; None without a file."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & _OPEN_TO_OTHERS:
                _warn_once(path, f"has mode {status.st_mode & 0o777:04o}")
            elif hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                _warn_once(path, f"belongs to another user ({status.st_uid})")
            return Secret(file.read())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problem = type(error).__name__
    # Raised outside the except block: a UnicodeDecodeError holds the file's bytes, and would become
    # the context of this error.
    raise ConfigError(f"{path} cannot be read: {problem}")


@lru_cache(maxsize=64)  # once per file, however many clients a service makes
def _warn_once(path: Path, problem: str) -> None:
    """Log that others can read the file.

    It is not a Python warning: an application that turns warnings into errors would fail to start.
    """
    _log.warning(
        "%s %s, so others can read or change the token in it; own it, with mode 0600", path, problem
    )


def _parse(content: Secret) -> dict[str, Profile] | str:
    """Return the profiles of an INI file, or of the two-level YAML that one vendor tool writes.

    A problem is described, not raised, because the variables and a parser's error hold the text.
    """
    import configparser  # noqa: PLC0415  late: most clients never read a file

    try:
        text = content.reveal()
        if not re.search(r"^\s*\[", text, re.MULTILINE):
            return _parse_yaml(text)
        # An empty default_section: inheritance is done in `read_profile`, as [default] may be
        # missing.
        parser = configparser.ConfigParser(interpolation=None, default_section="\0", strict=False)
        parser.read_string(text)
        return {name: _profile(dict(parser[name])) for name in parser.sections()}
    except configparser.Error as error:
        return f"it is not an INI file ({type(error).__name__})"


def _parse_yaml(text: str) -> dict[str, Profile]:
    profiles: dict[str, dict[str, str]] = {}
    profile = _DEFAULT_PROFILE
    for line in text.splitlines():
        if heading := re.fullmatch(r"([^\s#:]+):\s*", line):
            profile = heading[1]
        elif entry := re.fullmatch(r"\s*(token|account):\s*(\S+)\s*", line):
            profiles.setdefault(profile, {})[entry[1]] = entry[2].strip("\"'")
    return {name: _profile(fields) for name, fields in profiles.items()}


def _profile(fields: dict[str, str]) -> Profile:
    token = fields.get("token")
    return Profile(Secret(token) if token else None, fields.get("account") or None)
