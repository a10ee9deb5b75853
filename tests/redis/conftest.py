"""Fixture of a Redis server."""

from collections.abc import Iterator

import pytest

from tests.support_redis import RedisServer, redis_server


@pytest.fixture(name="redis_server")
def _redis_server() -> Iterator[RedisServer]:
    """Start an empty Redis server for one test."""
    with redis_server() as server:
        yield server
