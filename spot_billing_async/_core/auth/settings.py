"""Token, account and base URL, resolved from arguments, environment and credentials file.

Precedence, field by field: arguments, then the environment, then the file. A profile that is named
explicitly comes before the environment. Names and file format are those of the vendor's own tools.
"""

from typing import NamedTuple

from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.auth.credentials_file import (
    Profile,
    credentials_path,
    environment_profile,
    read_profile,
    variable,
)
from spot_billing_async._core.auth.hosts import is_loopback
from spot_billing_async._core.auth.secret import Secret, masked
from spot_billing_async.errors import ConfigError

DEFAULT_BASE_URL = "https://api.spotinst.io"


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

    Environment: `SPOTINST_TOKEN`, `SPOTINST_ACCOUNT`, `SPOTINST_BASE_URL`; `SPOTINST_PROFILE` (or
    `SPOTINST_CREDENTIALS_PROFILE`); `SPOTINST_SHARED_CREDENTIALS_FILE` (or
    `SPOTINST_CREDENTIALS_FILE`), default `~/.spotinst/credentials`. An empty variable counts as not
    set.

    Raises:
        ConfigError: the token is missing, a value is not usable, or the file cannot be read.
    """
    profile_name = variable("SPOTINST_PROFILE", "SPOTINST_CREDENTIALS_PROFILE")
    from_env = environment_profile()
    has_arguments = credential is not None and account_id is not None
    needs_file = profile_name is not None or None in from_env
    from_file = read_profile(profile_name) if needs_file and not has_arguments else Profile()
    found = from_file.over(from_env) if profile_name else from_env.over(from_file)
    if credential is None:
        if found.token is None:
            raise ConfigError(
                "token must be given: as SPOTINST_TOKEN, as `token = …` under [default] in "
                f"{credentials_path()}, or in Python as the argument `token`"
            )
        credential = Credential(found.token.reveal())
    if base_url is None:
        base_url = Secret(variable("SPOTINST_BASE_URL") or DEFAULT_BASE_URL)
    return Settings(
        credential.checked(),
        account_id if account_id is not None else found.account_id,
        checked_base_url(base_url, allow_insecure=allow_insecure),
    )


def checked_base_url(base_url: Secret, *, allow_insecure: bool) -> str:
    """Return a base URL that the token may be sent to, without a trailing slash.

    Raises:
        ConfigError: not an http(s) URL, one with credentials, query or fragment, or plain http to a
            host other than loopback without `allow_insecure`. Nothing of a URL that may hold a
            password is shown.
    """
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
