"""The cache of costs, as a client has it: it owns the fetches under way, and the store."""

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from spot_billing_async.cache.inflight import InflightFetches
from spot_billing_async.cache.loader import Filler
from spot_billing_async.cache.lookup import Reading
from spot_billing_async.cache.policy import CachePolicy, utc_now
from spot_billing_async.cache.query import Ask, Found
from spot_billing_async.cache.store import MemoryStore, Store
from spot_billing_async.errors import CLIENT_IS_NOT_OPEN, ConfigError
from spot_billing_async.telemetry import emit

T = TypeVar("T")


class CostCache:
    """Keeps costs by account and day, and lets all who ask for a day share one fetch of it.

    Give it to a client: `SpotBillingClient(cache=CostCache())`. It then answers `costs.get` and
    `costs.pull` for queries that name account, first and last day, with rows that have a `date`
    (of over ten years they ask past it). What it lacks is asked for, each run of days once, whoever
    else asks meanwhile. Each credential has entries of its own. An error is never kept. It serves
    one client at a time, with all of its views for other tenants; what it keeps outlives the
    client.

    Args:
        store: where costs are kept; None keeps up to 64 MiB in memory.
        policy: how long.
        now: tells the moment, with its zone; for tests.

    Raises:
        ConfigError: store or policy are none.
    """

    def __init__(
        self,
        store: Store | None = None,
        policy: CachePolicy = CachePolicy(),  # noqa: B008  frozen: one value serves all
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not isinstance(policy, CachePolicy):
            raise ConfigError(f"policy: {policy!r} is not allowed; allowed: a CachePolicy")
        self._store = MemoryStore() if store is None else store
        if not isinstance(self._store, Store):
            raise ConfigError(
                f"store: a {type(store).__name__} is not allowed; allowed: a MemoryStore, a "
                "RedisStore, or another Store"
            )
        self._filler = Filler(self._store, policy, now)
        self._flights: InflightFetches | None = None

    async def __aenter__(self) -> Self:
        if self._flights is not None:
            raise ConfigError("cache: a client uses it already; allowed: one client at a time")
        self._flights = InflightFetches()
        try:
            await self._store.__aenter__()
            await self._flights.__aenter__()
        except BaseException:
            self._flights = None
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        flights, self._flights = self._flights, None
        assert flights is not None  # noqa: S101  entered before it is left
        try:
            await flights.__aexit__(kind, error, trace)
        finally:
            await self._store.__aexit__(kind, error, trace)

    async def read(self, ask: Ask[T]) -> Found[T]:
        """The rows of a query: by day, and within a day as the server sent them.

        Raises:
            SpotBillingError: a fetch failed, or the caller's time is over.
        """
        if self._flights is None:
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        self._flights.require_loop()
        reading = Reading(ask, self._filler, self._flights)
        try:
            direct = await reading.complete() if reading.missing else None
            if direct is not None:
                return direct
            rows = await ask.codec.rows_of([reading.values[key] for key in reading.keys])
            if rows is None:  # somebody else wrote what is no rows
                return await reading.ask_directly()
        finally:
            if ask.hook is not None:
                emit(ask.hook, reading.event())
        return Found(rows, reading.request_id)
