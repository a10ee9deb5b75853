"""Cost analysis: the contract's tag 'Cost Analysis'."""

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
        """This resource without the cache, which is neither read nor filled."""
        return CostsResource(self._session, self._account_id)

    @property
    def rate_limit(self) -> RateLimit | None:
        """Rate limit of cost queries as learned from responses so far; None if nothing shows one.

        Without rate-limit headers, it is an estimate from refused requests.
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
        """Return all cost rows of an account in a range of days.

        With a cache, days that it holds or that another call is fetching are not requested again.

        Args:
            account_id: account; None uses the client's own account, and if it has none leaves the
                choice to the server.
            from_date: first day, inclusive; None leaves it to the server.
            to_date: last day, inclusive; None leaves it to the server.
            group_by: "account", "service", "region", "family", or None for no breakdown.
            item_type: type of the rows: `CostItem`, or any type that msgspec decodes. If it has a
                field `cost: Decimal`, a row without an amount is an error.

        Raises:
            ArgumentError: an argument is not usable; nothing was sent.
            DecodeError: the response cannot be trusted, or a row has no amount.
            SpotBillingError: the call failed.
        """
        check_range(from_date, to_date)
        account_id = account_id if account_id is not None else self._account_id
        query = CostQuery(
            account_id=None if account_id is None else checked_id("account_id", account_id),
            from_date=from_date,
            to_date=to_date,
            group_by=checked_group_by(group_by),
        )
        answer: Answer[Any] = await self._fetch(query, item_type=item_type)
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
        """Start a pull: fetch every slice of a plan, `max_concurrency` at once.

        A slice is one query of the plan: one account and one window of days.

        Args:
            plan: a `CostPlan`, or a list of `CostQuery`.
            item_type: type of the rows, as for `get`. If it has `cost: Decimal` and `currency`, the
                report adds the costs up.
            ordered: return outcomes in the order of the plan instead of as they finish.
            deadline_s: seconds for the whole pull, from entering it; slices that are not done by
                then fail with a `DeadlineExceededError`. None for no limit.
            max_requests: most requests to send, retries and pages included; slices that have no
                request left fail with a `RequestLimitReachedError`. None for no limit.

        Returns:
            A run: enter it with `async with`, iterate it with `async for`, read its `report`. Each
            slice has the client's `deadline_s` too; waiting for the server's quota does not count
            in it. A failed slice does not stop the others. With a cache, a request counts for the
            slice that started it: a slice that joined a shared fetch sent none.

        Raises:
            ArgumentError: the plan, or a query in it, is not valid.
            ConfigError: a limit is out of its range, or the item type cannot be decoded.
        """
        if not isinstance(plan, CostPlan):
            _check_queries(plan)
        if max_requests is not None:
            check_count("max_requests", max_requests)
        if deadline_s is not None:
            check_seconds("deadline_s", deadline_s)
        decoder_for(item_type)
        return PullRun(
            plan,
            partial(self._fetch, item_type=item_type, totalled=True),
            worker_count=self._session.shared.config.max_concurrency,
            ordered=ordered,
            deadline_s=deadline_s,
            max_requests=max_requests,
            clock=self._session.shared.clock,
        )

    def _fetch(
        self,
        query: CostQuery,
        counts: RequestCounts | None = None,
        pull_ends_at_s: float | None = None,
        *,
        item_type: type[T],
        totalled: bool = False,
    ) -> Awaitable[Answer[T]]:
        """Return the answer to a query: from the cache if there is one that can serve it.

        After a 401 the cache is not read before the API has accepted the credential again.
        """
        is_refused = self._session.credential_key in self._session.shared.refused
        if self._cache is not None and not is_refused:
            cached = cache_query_for(
                self._session,
                query,
                item_type,
                lambda part: self.uncached._fetch(  # noqa: SLF001  of the same class
                    part, counts, pull_ends_at_s, item_type=item_type
                ),
                pull_ends_at_s,
            )
            if cached is not None:
                return read_cached(self._cache, cached, item_type, totalled=totalled)
        return call(
            self._session,
            GET_COSTS,
            item_type,
            query={
                "accountId": query.account_id,
                "fromDate": None if query.from_date is None else query.from_date.isoformat(),
                "toDate": None if query.to_date is None else query.to_date.isoformat(),
                "groupBy": query.group_by,
            },
            counts=counts,
            pull_ends_at_s=pull_ends_at_s,
            totalled=totalled,
        )


def _check_queries(plan: object) -> None:
    """Raise unless `plan` is a list of valid queries; nothing was sent yet."""
    if not isinstance(plan, list | tuple):
        raise ArgumentError(f"plan must be a CostPlan or a list of CostQuery, got {plan!r}")
    for place, query in enumerate(plan):
        if not isinstance(query, CostQuery):
            raise ArgumentError(f"plan[{place}] must be a CostQuery, got {query!r}")
        if query.account_id is not None:
            checked_id(f"plan[{place}].account_id", query.account_id)
        check_range(query.from_date, query.to_date)
        checked_group_by(query.group_by)
