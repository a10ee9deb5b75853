"""Cache of costs of a client: owns the fetches in flight and the store."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Self, TypeVar

from spot_billing_async.cache.fetch import SharedFetches
from spot_billing_async.cache.lookup import CacheLookup
from spot_billing_async.cache.policy import CachePolicy, utc_now
from spot_billing_async.cache.query import CacheQuery
from spot_billing_async.cache.store import MemoryStore, Store
from spot_billing_async.errors import CLIENT_IS_NOT_OPEN, ConfigError
from spot_billing_async.models.results import Answer

T = TypeVar("T")


class CostCache:
    """Cache of costs by account and day, whose concurrent queries share fetches.

    Pass it to a client: `SpotBillingClient(cache=CostCache())`. `costs.get` and `costs.pull` then
    use it for queries that name the account, the first and the last day, at most ten years, and an
    item type with a `date`. Days that it does not have are fetched; queries for a day whose fetch
    is in flight wait for that fetch instead of sending another request. Each credential has a
    namespace of its own. Errors are not cached. A cache serves one client at a time, with all its
    views for other tenants. The cached data outlives the client.

    Args:
        store: where the data is kept; None for a `MemoryStore` of 64 MiB.
        policy: how long it is kept.
        now: clock that returns a time with a zone; for tests.
    """

    def __init__(
        self,
        store: Store | None = None,
        policy: CachePolicy = CachePolicy(),  # noqa: B008  frozen: one value serves all
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not isinstance(policy, CachePolicy):
            raise ConfigError(f"policy must be a CachePolicy, got {policy!r}")
        self._store = MemoryStore() if store is None else store
        if not isinstance(self._store, Store):
            # The value is not shown: a URL given by mistake may hold a password.
            kind = type(store).__name__
            raise ConfigError(f"store must be a MemoryStore, a RedisStore or a Store, got a {kind}")
        self._policy = policy
        self._now = now
        self._fetches: SharedFetches | None = None

    async def __aenter__(self) -> Self:
        if self._fetches is not None:
            raise ConfigError("this cache is in use; a cache serves one client at a time")
        self._fetches = SharedFetches(self._store, self._policy, self._now)
        try:
            await self._store.__aenter__()
        except BaseException:
            self._fetches = None
            raise
        return self

    async def __aexit__(self, *raised: Any) -> None:  # noqa: ANN401, PYI036  passed on
        fetches, self._fetches = self._fetches, None
        assert fetches is not None  # noqa: S101  entered before it is left
        try:
            await fetches.close()
        finally:
            await self._store.__aexit__(*raised)

    async def read(self, query: CacheQuery[T]) -> Answer[T]:
        """Return the rows of a query by day, and within a day in the server's order.

        The answer has no totals, and the id of the last request that was sent for the query.
        """
        if self._fetches is None:
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        return await CacheLookup(query, self._fetches).answer()
