"""Who asks, and whom: token, account and base URL from arguments, environment and file.

Arguments beat the environment, which beats the file, field by field; a profile that is asked for by
name beats the environment. Names and file format are those of the vendor's own tools.
"""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from spot_billing_async.errors import ConfigError, TransportError

DEFAULT_BASE_URL = "https://api.spotinst.io"
_DEFAULT_PROFILE = "default"
_REMOVED = "[token removed]"
_SHORTEST_TOKEN = 8  # characters; anything shorter is a test's token, or a word

TokenProvider = Callable[[], Awaitable[str]]
"""Called before every request; answers the token to send. Caching is the provider's business."""


class Credential:
    """A bearer token, given or provided, that does not show itself."""

    __slots__ = ("_provider", "_token")

    def __init__(self, token: str | TokenProvider) -> None:
        self._provider = token if callable(token) else None
        self._token = "" if callable(token) else _checked_token("token", token)

    async def token(self) -> str:
        """The token to send now.

        Raises:
            ConfigError: the provider answered something that cannot be a token.
            TransportError: the provider failed; its own exception is the cause.
        """
        if self._provider is None:
            return self._token
        try:
            provided: object = self._provider()
            token = await provided if isawaitable(provided) else provided
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            message = "the token provider waits for what somebody else cancelled"
            raise TransportError(message, sent=False) from error
        except Exception as error:
            message = f"the token provider failed with {type(error).__name__}"
            raise TransportError(message, sent=False) from error
        return _checked_token("the token provider's answer", token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'***' if self._provider is None else 'provider'})"

    def __reduce__(self) -> str:
        raise TypeError("a credential is not pickled: it would write the token out")


def is_being_cancelled() -> bool:
    """Whether a cancellation that this task meets is meant for it.

    Foreign code may let that of something it waited for through. Taken for the task's own, it would
    end a pull without a word.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _checked_token(field: str, token: object) -> str:
    """The token without white space around it; the messages never hold it.

    Quotes and backslashes are in no bearer token (RFC 6750), and would look different wherever text
    is quoted, so that `without` could miss them.
    """
    text = token.strip() if isinstance(token, str) else ""
    if not text or not text.isascii() or not text.isprintable() or set(text) & set(" \"'\\"):
        raise ConfigError(
            f"{field} is not usable; allowed: printable ASCII text without spaces and quotes, "
            "or an async function that returns it"
        )
    return text


def without(token: str, text: str) -> str:
    """A text without the token; one as short as a word is cut out where it stands alone."""
    if len(token) >= _SHORTEST_TOKEN:
        return text.replace(token, _REMOVED)
    return re.sub(rf"(?<!\w){re.escape(token)}(?!\w)", _REMOVED, text)


class Settings(NamedTuple):
    """What arguments, environment and file come to."""

    credential: Credential
    account_id: str | None
    base_url: str


def resolve(
    token: str | TokenProvider | None,
    account_id: str | None,
    base_url: str | None,
    *,
    allow_insecure: bool,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Put arguments, environment and credentials file together.

    Environment: `SPOTINST_TOKEN`, `SPOTINST_ACCOUNT`, `SPOTINST_BASE_URL`; `SPOTINST_PROFILE` (or
    `SPOTINST_CREDENTIALS_PROFILE`); `SPOTINST_SHARED_CREDENTIALS_FILE` (or
    `SPOTINST_CREDENTIALS_FILE`), by default `~/.spotinst/credentials`. A variable that is set but
    empty counts as not set.

    Raises:
        ConfigError: there is no token, a value is not usable, or the file cannot be read.
    """
    named_profile = _first(environ, "SPOTINST_PROFILE", "SPOTINST_CREDENTIALS_PROFILE")
    from_env = {
        "token": environ.get("SPOTINST_TOKEN") or None,
        "account": environ.get("SPOTINST_ACCOUNT") or None,
    }
    needs_file = (
        named_profile is not None or from_env["token"] is None or from_env["account"] is None
    )
    complete = token is not None and account_id is not None
    from_file = _read_profile(environ, named_profile) if needs_file and not complete else {}
    first, second = (from_file, from_env) if named_profile else (from_env, from_file)
    token = token if token is not None else first.get("token") or second.get("token")
    if token is None:
        raise ConfigError(
            "token: none found; allowed: the token argument, SPOTINST_TOKEN, or `token = …` under "
            f"[default] in {_credentials_path(environ)}"
        )
    return Settings(
        Credential(token),
        account_id if account_id is not None else first.get("account") or second.get("account"),
        checked_base_url(
            base_url
            if base_url is not None
            else environ.get("SPOTINST_BASE_URL") or DEFAULT_BASE_URL,
            allow_insecure=allow_insecure,
        ),
    )


def checked_base_url(url: object, *, allow_insecure: bool) -> str:
    """A base URL that the token may be sent to, without a slash at its end.

    Raises:
        ConfigError: no http(s) URL, one with credentials, query or fragment in it, or plain http to
            a host other than loopback without `allow_insecure`.
    """
    if not isinstance(url, str):
        raise ConfigError(f"base_url: {url!r} is no text; allowed: https://host[:port]")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        raise ConfigError(f"base_url: {url!r} is no URL; allowed: https://host[:port]") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("base_url holds a user name or password; allowed: https://host[:port]")
    clean = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not clean or parts.scheme not in {"http", "https"} or not host:
        raise ConfigError(
            f"base_url: {url!r} is not usable; allowed: https://host[:port], or http:// to loopback"
        )
    if "?" in url or "#" in url:
        raise ConfigError(f"base_url: {url!r} has a query or fragment; allowed: none")
    if parts.scheme == "http" and not (allow_insecure or _is_loopback(host)):
        raise ConfigError(
            f"base_url: {url!r} would send the token in the clear; allowed: https, loopback hosts, "
            "or ClientConfig(allow_insecure=True)"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _credentials_path(environ: Mapping[str, str]) -> Path:
    named = _first(environ, "SPOTINST_SHARED_CREDENTIALS_FILE", "SPOTINST_CREDENTIALS_FILE")
    return Path(named).expanduser() if named else Path("~/.spotinst/credentials").expanduser()


def _read_profile(environ: Mapping[str, str], named_profile: str | None) -> dict[str, str]:
    """The fields of a profile, those of `[default]` where it lacks them; {} without a file."""
    path = _credentials_path(environ)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if named_profile is None:
            return {}
        raise ConfigError(
            f"profile: {named_profile!r} is asked for, but {path} is missing"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        # No cause: a decode error carries the file's bytes.
        raise ConfigError(f"{path} cannot be read: {type(error).__name__}") from None
    profiles = _parse(path, text)
    default = profiles.get(_DEFAULT_PROFILE, {})
    if named_profile is None:
        return default
    if named_profile not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise ConfigError(f"profile: {named_profile!r} is not in {path}; allowed: {known}")
    return default | profiles[named_profile]


def _parse(path: Path, text: str) -> dict[str, dict[str, str]]:
    """Profiles by name, from INI, or from the two-level YAML that one vendor tool writes."""
    import configparser  # noqa: PLC0415  late: most clients never read a file

    if not re.search(r"^\s*\[", text, re.MULTILINE):
        return _parse_yaml(text)
    # An empty default_section: inheritance is done here, as the file's [default] may be absent.
    parser = configparser.ConfigParser(interpolation=None, default_section="\0", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        # No cause: a parser's error quotes the lines it met, and a line may hold the token.
        raise ConfigError(f"{path} is no INI file: {type(error).__name__}") from None
    return {name: _present(dict(parser[name])) for name in parser.sections()}


def _parse_yaml(text: str) -> dict[str, dict[str, str]]:
    profiles: dict[str, dict[str, str]] = {}
    profile = _DEFAULT_PROFILE
    for line in text.splitlines():
        if heading := re.fullmatch(r"([^\s#:]+):\s*", line):
            profile = heading[1]
        elif entry := re.fullmatch(r"\s*(token|account):\s*(\S+)\s*", line):
            profiles.setdefault(profile, {})[entry[1]] = entry[2].strip("\"'")
    return profiles


def _present(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
