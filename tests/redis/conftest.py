"""A Redis for the tests of what uses one."""

from collections.abc import Iterator

import pytest

from tests.support_redis import RedisServer, redis_server


@pytest.fixture(name="redis_server")
def _redis_server() -> Iterator[RedisServer]:
    """A real server of the test's own, empty."""
    with redis_server() as server:
        yield server
