"""A node of a Redis Cluster, which is refused."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ClusterCrossSlotError, MovedError

from spot_billing_async import ConfigError, SpotBillingClient
from spot_billing_async.cache import CostCache
from spot_billing_async.redis import RedisQuota, RedisStore
from spot_billing_async.redis.server import Availability
from tests.support_redis import RedisServer, redis_server

OPTIONS: list[Callable[[str], dict[str, Any]]] = [
    lambda url: {"cache": CostCache(RedisStore(url, timeout_s=10.0))},
    lambda url: {"quota": RedisQuota(url, timeout_s=10.0)},
]


def one_node_cluster(server: RedisServer) -> None:
    """Give the node all slots."""
    with Redis.from_url(server.url) as plain:
        plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)


@pytest.mark.parametrize("options", OPTIONS)
async def test_a_cluster_is_refused(options: Callable[[str], dict[str, Any]]) -> None:
    """A client is not opened with a quota or a store in a Redis Cluster; the error says why."""
    with redis_server("--cluster-enabled", "yes") as server:
        await asyncio.to_thread(one_node_cluster, server)
        client = SpotBillingClient("t", **options(server.url))
        with pytest.raises(ConfigError, match="Redis Cluster is not supported"):
            await client.__aenter__()
        with pytest.raises(ConfigError, match="Redis Cluster is not supported"):
            await client.__aenter__()  # nothing of the first attempt is left


@pytest.mark.parametrize("error", [MovedError("1 127.0.0.1:1"), ClusterCrossSlotError("")])
def test_a_cluster_found_later_is_named(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The warning of an outage says so if the server turns out to be a cluster."""
    caplog.set_level(logging.WARNING)
    Availability("RedisStore()", when_down="alone", when_up="").mark_down(error)
    assert "a Redis Cluster is not supported" in caplog.text


@pytest.mark.parametrize("options", OPTIONS)
async def test_a_user_who_may_not_ask_for_the_mode_uses_redis(
    options: Callable[[str], dict[str, Any]], redis_server: RedisServer
) -> None:
    """A server that refuses INFO is used."""
    with Redis.from_url(redis_server.url) as plain:
        plain.execute_command("ACL", "SETUSER", "default", "-info")
    async with SpotBillingClient("t", **options(redis_server.url)):
        pass
