"""A Redis of a test's own, where the machine has one."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.harness.redis_server import RedisServer, can_run, running_redis

__all__ = ["RedisServer", "redis_server"]


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server that runs while the block lasts; the test is skipped where there is none."""
    if not can_run():
        pytest.skip("redis-server is not installed")
    with running_redis(*options) as server:
        yield server
