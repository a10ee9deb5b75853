"""Where a Redis server is, with its password hidden."""

from urllib.parse import urlsplit

from spot_billing_async.errors import ConfigError
from spot_billing_async.secret import Secret


def place_of(url: Secret) -> str:
    """The URL of a Redis server with its credentials masked.

    Raises:
        ConfigError: it is none. The value is not named: it may hold a password.
    """
    place = _place(url)
    if place is None:
        raise ConfigError(
            "url: the Redis URL is not usable; allowed: redis://[user:password@]host[:port][/number"
            " of the database], or rediss:// for TLS"
        )
    return place


def _place(redis: Secret) -> str | None:
    """The place, None for no such URL. It raises nothing."""
    url = redis.reveal()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_clean = url.isascii() and url.isprintable() and not set(url) & set(" \\?#")
    database = parts.path.removeprefix("/")
    if parts.scheme not in {"redis", "rediss"} or not parts.hostname or not is_clean:
        return None
    if database and not database.isdecimal():
        return None
    credentials, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{'***' if credentials else ''}{at}{host}{parts.path}"
