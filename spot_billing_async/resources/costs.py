"""Tag 'Cost Analysis'."""

from collections.abc import Awaitable, Sequence
from datetime import date
from functools import partial
from typing import Any, TypeVar, overload

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.cache import CostCache
from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CostItem, CostQuery, GroupBy
from spot_billing_async.models.results import Answer
from spot_billing_async.models.validation import (
    check_count,
    check_range,
    check_seconds,
    checked_group_by,
    checked_id,
)
from spot_billing_async.resources.cached_costs import cache_query_for, read_cached

T = TypeVar("T")


class CostsResource:
    """Cost analysis: `client.costs`."""

    def __init__(
        self, session: SessionManager, account_id: str | None, cache: CostCache | None = None
    ) -> None:
        self._session = session
        self._account_id = account_id
        self._cache = cache

    @property
    def uncached(self) -> "CostsResource":
        """The same past any cache: it asks the API, and leaves the cache as it is."""
        return CostsResource(self._session, self._account_id)

    @property
    def rate_limit(self) -> RateLimit | None:
        """The rate limit of cost queries, as the answers so far have told; None for nothing yet.

        Where no headers tell it, it is a guess from what was refused.
        """
        return self._session.rate_limit(GET_COSTS)

    @overload
    async def get(
        self,
        account_id: str | None = None,
        from_date: date | None = None,
        to_date: date | None = None,
        group_by: GroupBy | None = None,
    ) -> list[CostItem]: ...
    @overload
    async def get(
        self,
        account_id: str | None = None,
        from_date: date | None = None,
        to_date: date | None = None,
        group_by: GroupBy | None = None,
        *,
        item_type: type[T],
    ) -> list[T]: ...
    async def get(
        self,
        account_id: str | None = None,
        from_date: date | None = None,
        to_date: date | None = None,
        group_by: GroupBy | None = None,
        item_type: type[Any] = CostItem,
    ) -> list[Any]:
        """Get the costs of an account, all pages of them, in one call.

        With a cache, days that it has or that somebody asks for already are not asked for again.

        Args:
            account_id: the account; None asks for the client's own account, and where it has none
                leaves the choice to the server.
            from_date: first day, included; None leaves it to the server.
            to_date: last day, included; None leaves it to the server.
            group_by: "account", "service", "region", "family", or None for no breakdown.
            item_type: what each row is decoded to: `CostItem`, or anything msgspec decodes. Where
                it has a field `cost: Decimal`, a row without an amount is an error; where it has a
                `currency` too, a pull's report totals the costs.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            DecodeError: the answer cannot be trusted, or a row has no amount.
            SpotBillingError: the call failed.
        """
        check_range(from_date, to_date)
        asked = account_id if account_id is not None else self._account_id
        query = CostQuery(
            account_id=None if asked is None else checked_id("account_id", asked),
            from_date=from_date,
            to_date=to_date,
            group_by=checked_group_by(group_by),
        )
        answer: Answer[Any] = await self._answer(query, item_type)
        return answer.items

    @overload
    def pull(
        self,
        plan: Sequence[CostQuery],
        *,
        ordered: bool = False,
        deadline_s: float | None = None,
        max_requests: int | None = None,
    ) -> PullRun[CostItem]: ...
    @overload
    def pull(
        self,
        plan: Sequence[CostQuery],
        item_type: type[T],
        ordered: bool = False,
        *,
        deadline_s: float | None = None,
        max_requests: int | None = None,
    ) -> PullRun[T]: ...
    def pull(
        self,
        plan: Sequence[CostQuery],
        item_type: type[Any] = CostItem,
        ordered: bool = False,
        *,
        deadline_s: float | None = None,
        max_requests: int | None = None,
    ) -> PullRun[Any]:
        """Ask for every slice of a plan, `max_concurrency` at once.

        Args:
            plan: what to ask: what `CostPlan.build` makes, or a list of `CostQuery`.
            item_type: what each row is decoded to, as for `get`.
            ordered: hand outcomes over in the plan's order rather than as they finish.
            deadline_s: seconds for the whole pull, from entering it; slices that cannot be done by
                then fail with a `DeadlineExceededError`. None for no limit.
            max_requests: requests sent at most, retries and pages included; slices that have no
                request left fail with a `RequestLimitReachedError`. None for no limit.

        Returns:
            A run: enter it with `async with`, iterate it with `async for`, and read its `report`.
            Each slice has the client's `deadline_s` too; waiting for the server's quota before it
            is sent does not count in that. One failure does not stop the others. With a cache, a
            request counts where it was begun: a slice that joined another's fetch sent none.

        Raises:
            ArgumentError: the plan or a query in it is none.
            ConfigError: a limit is out of its range, or the item type cannot be decoded.
        """
        if not isinstance(plan, CostPlan):
            _check_queries(plan)
        if max_requests is not None:
            check_count("max_requests", max_requests)
        if deadline_s is not None:
            check_seconds("deadline_s", deadline_s)
        decoder_for(item_type)

        def fetch(
            query: CostQuery, tally: RequestCounts, ends_at_s: float
        ) -> Awaitable[Answer[Any]]:
            return self._answer(
                query, item_type, tally=tally, pull_ends_at_s=ends_at_s, totalled=True
            )

        return PullRun(
            plan,
            fetch,
            worker_count=self._session.config.max_concurrency,
            ordered=ordered,
            deadline_s=deadline_s,
            max_requests=max_requests,
            clock=self._session.clock,
        )

    def _answer(
        self,
        query: CostQuery,
        item_type: type[T],
        *,
        tally: RequestCounts | None = None,
        pull_ends_at_s: float | None = None,
        totalled: bool = False,
    ) -> Awaitable[Answer[T]]:
        """What a query comes to: from the cache as far as there is one and it can be of use."""
        if self._cache is not None:
            ask = partial(
                self._ask, item_type=item_type, tally=tally, pull_ends_at_s=pull_ends_at_s
            )
            cached = cache_query_for(self._session, query, item_type, ask, pull_ends_at_s)
            if cached is not None:
                return read_cached(self._cache, cached, item_type, totalled=totalled)
        return self._ask(query, item_type, tally, pull_ends_at_s, totalled=totalled)

    def _ask(
        self,
        query: CostQuery,
        item_type: type[T],
        tally: RequestCounts | None,
        pull_ends_at_s: float | None,
        *,
        totalled: bool = False,
    ) -> Awaitable[Answer[T]]:
        parameters = {
            "accountId": query.account_id,
            "fromDate": None if query.from_date is None else query.from_date.isoformat(),
            "toDate": None if query.to_date is None else query.to_date.isoformat(),
            "groupBy": query.group_by,
        }
        return call(
            self._session,
            GET_COSTS,
            item_type,
            query=parameters,
            tally=tally,
            pull_ends_at_s=pull_ends_at_s,
            totalled=totalled,
        )


def _check_queries(plan: object) -> None:
    """Refuse what is no list of queries that can be asked, before any of them is sent."""
    if not isinstance(plan, list | tuple):
        raise ArgumentError(
            f"plan: {plan!r} is not allowed; allowed: what CostPlan.build makes, or a list of "
            "CostQuery"
        )
    for place, query in enumerate(plan):
        if not isinstance(query, CostQuery):
            raise ArgumentError(f"plan[{place}]: {query!r} is not allowed; allowed: a CostQuery")
        if query.account_id is not None:
            checked_id(f"plan[{place}].account_id", query.account_id)
        check_range(query.from_date, query.to_date)
        checked_group_by(query.group_by)
