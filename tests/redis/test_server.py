"""URLs of Redis servers: which are taken, and what of them is shown."""

from collections.abc import Callable
from typing import Any

import pytest

from spot_billing_async import ConfigError
from spot_billing_async.redis import RedisQuota, RedisStore

USERS = [RedisQuota, RedisStore]
"""What is given the URL of a Redis server."""


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://host",
        "redis://",
        "redis://host:port",
        "redis://host:99999",
        "redis://host/name",
        "rediss://host/0?ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "redis://:pass-word@ho st",
        7,
    ],
)
def test_a_bad_url_is_refused(user: Callable[[Any], object], url: Any) -> None:
    """Without its value, which may hold a password; what is allowed is said."""
    with pytest.raises(ConfigError, match="allowed: redis://") as met:
        user(url)
    for entry in met.traceback[1:]:
        assert "pass-word" not in repr(entry.frame.f_locals)
    assert "pass-word" not in str(met.value)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host"),
        ("redis://:pass-word@host:6380/3", "redis://***@host:6380/3"),
        ("rediss://somebody:pass-word@host", "rediss://***@host"),
    ],
)
def test_a_url_shows_where_the_server_is(
    user: Callable[[str], object], url: str, shown: str
) -> None:
    """And not who asks there, nor with what password."""
    assert repr(user(url)) == f"{user.__name__}({shown!r})"
