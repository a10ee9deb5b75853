"""The environment, and the credentials file as the vendor's own tools write it.

The file's text and the environment hold tokens: neither stands in a frame that raises.
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
    """A profile's fields, as far as it has them."""

    token: Secret | None = None
    account_id: str | None = None

    def over(self, other: "Profile") -> "Profile":
        """These fields, and the other's where they lack."""
        return Profile(
            other.token if self.token is None else self.token,
            other.account_id if self.account_id is None else self.account_id,
        )


def variable(*names: str) -> str | None:
    """The first of some environment variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def credentials_path() -> Path:
    """Where the credentials file is looked for."""
    named = variable("SPOTINST_SHARED_CREDENTIALS_FILE", "SPOTINST_CREDENTIALS_FILE")
    return Path(named or "~/.spotinst/credentials").expanduser()


def profile_of_environment() -> Profile:
    """What `SPOTINST_TOKEN` and `SPOTINST_ACCOUNT` say."""
    token = os.environ.get("SPOTINST_TOKEN")
    return Profile(Secret(token) if token else None, variable("SPOTINST_ACCOUNT"))


def read_profile(name: str | None) -> Profile:
    """A profile of the credentials file, with the fields of `[default]` where it lacks them.

    Args:
        name: None for `[default]`, which need not be there; neither need the file.

    Raises:
        ConfigError: the file cannot be read, or the profile that is asked for is not in it.
    """
    path = credentials_path()
    text = _read(path)
    if text is None:
        if name is None:
            return Profile()
        raise ConfigError(f"profile: {name!r} is asked for, but {path} is missing")
    profiles = _parse(text)
    if isinstance(profiles, str):
        raise ConfigError(f"{path} cannot be read: {profiles}")
    default = profiles.get(_DEFAULT_PROFILE, Profile())
    if name is None:
        return default
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(f"profile: {name!r} is not in {path}; allowed: {known}")
    return profiles[name].over(default)


def _read(path: Path) -> Secret | None:
    """The file's text; None without a file."""
    try:
        with path.open(encoding="utf-8") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode & 0o777)
            return Secret(file.read())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problem = type(error).__name__
    # Raised out here: the error of a decoder holds the file's bytes, and would be the context.
    raise ConfigError(f"{path} cannot be read: {problem}")


def _check_mode(path: Path, mode: int) -> None:
    if mode & _OPEN_TO_OTHERS:
        _warn_of_mode(path, mode)


@lru_cache(maxsize=64)  # once for each file, however many clients a service makes
def _warn_of_mode(path: Path, mode: int) -> None:
    """Logged, as a warning of Python's that its host turns into an error would end a service."""
    _log.warning(
        "%s has mode %04o: others can read or change the token in it; allowed: 0600", path, mode
    )


def _parse(content: Secret) -> dict[str, Profile] | str:
    """Profiles by name, from INI, or from the two-level YAML that one vendor tool writes.

    It answers with what is wrong, rather than raise: its variables hold the file, and a parser's
    error quotes it.
    """
    import configparser  # noqa: PLC0415  late: most clients never read a file

    try:
        text = content.reveal()
        if not re.search(r"^\s*\[", text, re.MULTILINE):
            return _parse_yaml(text)
        # An empty default_section: inheritance is done here, as the file's [default] may be absent.
        parser = configparser.ConfigParser(interpolation=None, default_section="\0", strict=False)
        parser.read_string(text)
        return {name: _profile(dict(parser[name])) for name in parser.sections()}
    except configparser.Error as error:
        return f"it is no INI file ({type(error).__name__})"


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
