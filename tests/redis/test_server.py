"""URLs of Redis servers: validation and masking."""

from collections.abc import Callable
from typing import Any

import pytest

from spot_billing_async import ConfigError
from spot_billing_async.redis import RedisQuota, RedisStore

CLASSES = [RedisQuota, RedisStore]
"""Classes that take the URL of a Redis server."""


@pytest.mark.parametrize("class_", CLASSES)
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
def test_an_invalid_url_is_refused(class_: Callable[[Any], object], url: Any) -> None:
    """The error for an invalid URL does not show it, as it may hold a password."""
    with pytest.raises(ConfigError, match="url must be redis://") as raised:
        class_(url)
    for entry in raised.traceback[1:]:
        assert "pass-word" not in repr(entry.frame.f_locals)
    assert "pass-word" not in str(raised.value)


@pytest.mark.parametrize("class_", CLASSES)
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host", "redis://host"),
        ("redis://:pass-word@host:6380/3", "redis://***@host:6380/3"),
        ("rediss://somebody:pass-word@host", "rediss://***@host"),
    ],
)
def test_a_repr_shows_the_server_only(
    class_: Callable[[str], object], url: str, shown: str
) -> None:
    """User name and password of the URL are masked."""
    assert repr(class_(url)) == f"{class_.__name__}({shown!r})"
