"""A Redis server for a single test, if `redis-server` is installed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.harness.redis_server import RedisServer, can_run, running_redis

__all__ = ["RedisServer", "redis_server"]


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run a server for the duration of the block; skip the test if none is installed."""
    if not can_run():
        pytest.skip("redis-server is not installed")
    with running_redis(*options) as server:
        yield server
