"""Arguments, environment and file put together."""

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.credentials_file import (
    Profile,
    credentials_path,
    profile_of_environment,
    read_profile,
    variable,
)
from spot_billing_async.errors import ConfigError

DEFAULT_BASE_URL = "https://api.spotinst.io"


class Settings(NamedTuple):
    """What arguments, environment and file come to."""

    credential: Credential
    account_id: str | None
    base_url: str


def resolve(
    credential: Credential | None,
    account_id: str | None,
    base_url: str | None,
    *,
    allow_insecure: bool,
) -> Settings:
    """Put arguments, environment and credentials file together.

    Environment: `SPOTINST_TOKEN`, `SPOTINST_ACCOUNT`, `SPOTINST_BASE_URL`; `SPOTINST_PROFILE` (or
    `SPOTINST_CREDENTIALS_PROFILE`); `SPOTINST_SHARED_CREDENTIALS_FILE` (or
    `SPOTINST_CREDENTIALS_FILE`), by default `~/.spotinst/credentials`. A variable that is set but
    empty counts as not set.

    Raises:
        ConfigError: there is no token, a value is not usable, or the file cannot be read.
    """
    named_profile = variable("SPOTINST_PROFILE", "SPOTINST_CREDENTIALS_PROFILE")
    from_env = profile_of_environment()
    complete = credential is not None and account_id is not None
    needs_file = named_profile is not None or None in from_env
    from_file = read_profile(named_profile) if needs_file and not complete else Profile()
    found = from_file.over(from_env) if named_profile else from_env.over(from_file)
    if credential is None:
        if found.token is None:
            raise ConfigError(
                "token: none found; allowed: the token argument, SPOTINST_TOKEN, or `token = …` "
                f"under [default] in {credentials_path()}"
            )
        credential = Credential(found.token.reveal())
    url = base_url if base_url is not None else variable("SPOTINST_BASE_URL") or DEFAULT_BASE_URL
    return Settings(
        credential.checked(),
        account_id if account_id is not None else found.account_id,
        checked_base_url(url, allow_insecure=allow_insecure),
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
