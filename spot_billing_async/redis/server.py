"""URL of a Redis server with its password masked, and log messages about its availability."""

import logging

from spot_billing_async._core.auth.secret import Secret, masked
from spot_billing_async.errors import ConfigError

_log = logging.getLogger("spot_billing_async")


def masked_url(url: Secret) -> str:
    """Return the URL of a Redis server with its credentials masked.

    Raises:
        ConfigError: it is not a Redis URL. The value is not shown, as it may hold a password.
    """
    parts = masked(url, {"redis", "rediss"})
    database = "" if parts is None else parts.path.removeprefix("/")
    if parts is None or (database and not database.isdecimal()):
        raise ConfigError(
            "url must be redis://[user:password@]host[:port][/database number], or rediss:// for"
            " TLS; the value is not shown, as it may hold a password"
        )
    return parts.geturl()


class Availability:
    """Availability of a Redis server; each change is logged once, as a warning.

    Args:
        user: the object that uses the server, with the masked URL.
        when_down: log text for what happens without the server.
        when_up: log text for what happens with it.

    Attributes:
        is_up: None until the first response or failure.
    """

    def __init__(self, user: str, *, when_down: str, when_up: str) -> None:
        self.is_up: bool | None = None
        self._user = user
        self._when_down = when_down
        self._when_up = when_up

    def mark_up(self) -> None:
        """Record a response of the server."""
        if self.is_up is False:
            _log.warning("%s is available again: %s", self._user, self._when_up)
        self.is_up = True

    def mark_down(self, error: BaseException) -> None:
        """Record a failure. Only the error's class is logged: servers quote what they were sent."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self.is_up is not False:
            name = type(error).__name__
            _log.warning("%s is unavailable (%s): %s", self._user, name, self._when_down)
        self.is_up = False
