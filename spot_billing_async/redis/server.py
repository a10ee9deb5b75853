"""Where a Redis server is, with its password hidden; and what the log is told of it."""

import logging

from spot_billing_async._core.auth.secret import Secret, masked
from spot_billing_async.errors import ConfigError

_log = logging.getLogger("spot_billing_async")


def place_of(url: Secret) -> str:
    """The URL of a Redis server with its credentials masked.

    Raises:
        ConfigError: it is none. The value is not named: it may hold a password.
    """
    place = masked(url, {"redis", "rediss"})
    database = "" if place is None else place.path.removeprefix("/")
    if place is None or (database and not database.isdecimal()):
        raise ConfigError(
            "url: the Redis URL is not usable; allowed: redis://[user:password@]host[:port][/number"
            " of the database], or rediss:// for TLS"
        )
    return place.geturl()


class Reach:
    """Whether a Redis server answers. The log is told when it no longer does, and when it is back.

    Args:
        whose: what uses it, and where it is.
        alone: what is done without it.
        together: what is done with it.

    Attributes:
        is_up: None until it has answered, or has not.
    """

    def __init__(self, whose: str, *, alone: str, together: str) -> None:
        self.is_up: bool | None = None
        self._whose = whose
        self._alone = alone
        self._together = together

    def found(self) -> None:
        """It answers."""
        if self.is_up is False:
            _log.warning("%s is back: %s", self._whose, self._together)
        self.is_up = True

    def lost(self, error: BaseException) -> None:
        """It does not. Of the error nothing but its name is told: servers quote what they met."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if self.is_up is not False:
            name = type(error).__name__
            _log.warning("%s is gone or slow (%s): %s", self._whose, name, self._alone)
        self.is_up = False
