"""Token, account and base URL, resolved from arguments, environment and credentials file.

Precedence, field by field: arguments, then the environment, then the file. A profile that is named
explicitly comes before the environment. Names and file format are those of the vendor's own tools.
Environment and file hold tokens, so neither text is in a frame of an error that leaves this module.
"""

import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.hosts import is_loopback
from spot_billing_async._core.auth.secret import Secret, masked
from spot_billing_async.errors import ConfigError

DEFAULT_BASE_URL = "https://api.spotinst.io"

_log = logging.getLogger("spot_billing_async")
_DEFAULT_PROFILE = "default"
_OPEN_TO_OTHERS = 0o066  # group or others may read or write


class Settings(NamedTuple):
    """Resolved settings of a client."""

    credential: Credential
    account_id: str | None
    base_url: str


def resolve(
    credential: Credential | None,
    account_id: str | None,
    base_url: Secret | None,
    *,
    allow_insecure: bool,
) -> Settings:
    """Resolve arguments, environment and credentials file.

    Raises:
        ConfigError: the token is missing, a value is not usable, or the file cannot be read.
    """
    profile_name = _variable("SPOTINST_PROFILE", "SPOTINST_CREDENTIALS_PROFILE")
    from_env = _Profile(Secret(_variable("SPOTINST_TOKEN")), _variable("SPOTINST_ACCOUNT"))
    has_arguments = credential is not None and account_id is not None
    needs_file = profile_name is not None or not all(from_env)
    from_file = _read_profile(profile_name) if needs_file and not has_arguments else _Profile()
    found = from_file.over(from_env) if profile_name else from_env.over(from_file)
    if credential is None:
        if not found.token:
            raise ConfigError(
                "token must be given: as SPOTINST_TOKEN, as `token = …` under [default] in "
                f"{_credentials_path()}, or in Python as the argument `token`"
            )
        credential = Credential(found.token.reveal())
    if base_url is None:
        base_url = Secret(_variable("SPOTINST_BASE_URL") or DEFAULT_BASE_URL)
    return Settings(
        credential.checked(),
        account_id if account_id is not None else found.account_id or None,
        checked_base_url(base_url, allow_insecure=allow_insecure),
    )


def checked_base_url(base_url: Secret, *, allow_insecure: bool) -> str:
    """Return a base URL that the token may be sent to, without a trailing slash."""
    # An @ anywhere: in a password, a slash that is not escaped would begin the path.
    parts = None if "@" in base_url.reveal() else masked(base_url, {"http", "https"})
    if parts is None:
        raise ConfigError(
            "base_url (SPOTINST_BASE_URL) must be https://host[:port][/path], or http:// to a "
            "loopback host, without user, password, query and fragment; the value is not shown"
        )
    if parts.scheme == "http" and not (allow_insecure or is_loopback(parts.hostname or "")):
        raise ConfigError(
            "base_url (SPOTINST_BASE_URL) must be https, or http to a loopback host, got "
            f"'http://{parts.netloc}': plain http sends the token in the clear, unless "
            "ClientConfig(allow_insecure=True) accepts that"
        )
    return base_url.reveal().rstrip("/")


class _Profile(NamedTuple):
    """Fields of one profile, empty where it lacks them."""

    token: Secret = Secret("")
    account_id: str | None = None

    def over(self, other: "_Profile") -> "_Profile":
        """Return this profile with its missing fields taken from another one."""
        return _Profile(self.token or other.token, self.account_id or other.account_id)


def _variable(*names: str) -> str | None:
    """Return the first of some environment variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _credentials_path() -> Path:
    """Return the path of the credentials file."""
    path = _variable("SPOTINST_SHARED_CREDENTIALS_FILE", "SPOTINST_CREDENTIALS_FILE")
    # Path.expanduser raises without a home directory; this leaves the path as it is.
    return Path(os.path.expanduser(path or "~/.spotinst/credentials"))  # noqa: PTH111  see above


def _read_profile(name: str | None) -> _Profile:
    """Read a profile of the credentials file; missing fields come from its `[default]`.

    None reads `[default]` alone; neither it nor the file has to exist.
    """
    path = _credentials_path()
    try:
        profiles = _profiles(path)
    except FileNotFoundError:
        if name is None:
            return _Profile()
        raise ConfigError(f"profile {name!r} cannot be read: {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        profiles = type(error).__name__
    if isinstance(profiles, str):  # not raised above: the file's bytes would be in the context
        raise ConfigError(f"{path} cannot be read: {profiles}")
    default = profiles.get(_DEFAULT_PROFILE, _Profile())
    if name is None:
        return default
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(f"profile must be one of those in {path} ({known}), got {name!r}")
    return profiles[name].over(default)


def _profiles(path: Path) -> dict[str, _Profile] | str:
    """Read the profiles of an INI file, or of the two-level YAML that one vendor tool writes.

    A problem is described, not raised, because the variables and a parser's error hold the text.
    """
    with path.open(encoding="utf-8-sig") as file:
        status = os.fstat(file.fileno())
        if status.st_mode & _OPEN_TO_OTHERS:
            _warn_once(path, f"has mode {status.st_mode & 0o777:04o}")
        elif hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            _warn_once(path, f"belongs to another user ({status.st_uid})")
        text = file.read()
    if re.search(r"^\s*\[", text, re.MULTILINE):
        import configparser  # noqa: PLC0415  late: most clients never read a file

        # No default_section: `_read_profile` does the inheritance, as [default] may be missing.
        parser = configparser.ConfigParser(interpolation=None, default_section="\0", strict=False)
        try:
            parser.read_string(text)
        except configparser.Error as error:
            return f"it is not an INI file ({type(error).__name__})"
        found = {name: dict(parser[name]) for name in parser.sections()}
    else:
        found, name = {}, _DEFAULT_PROFILE
        for line in text.splitlines():
            if heading := re.fullmatch(r"([^\s#:]+):\s*", line):
                name = heading[1]
            elif entry := re.fullmatch(r"\s*(token|account):\s*(\S+)\s*", line):
                found.setdefault(name, {})[entry[1]] = entry[2].strip("\"'")
    return {
        name: _Profile(Secret(fields.get("token")), fields.get("account"))
        for name, fields in found.items()
    }


@lru_cache(maxsize=64)  # once per file, however many clients a service makes
def _warn_once(path: Path, problem: str) -> None:
    # Not a Python warning: an application that turns warnings into errors would fail to start.
    _log.warning(
        "%s %s, so others can read or change the token in it; own it, with mode 0600", path, problem
    )
