"""Cost analysis: the contract's tag 'Cost Analysis'."""

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from spot_billing_async._core.aio.deadline import deadline_message, hard_end_s
from spot_billing_async._core.aio.tasks import current_task
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.pacing.budget import RequestCounts
from spot_billing_async._core.protocol.decoder import add_totals, decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.bulk.run import Gate, PullRun
from spot_billing_async.cache import CostCache
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.errors import ArgumentError
from spot_billing_async.models import CostItem, CostQuery, GroupBy
from spot_billing_async.models.results import Answer
from spot_billing_async.models.validation import check_count, check_query, check_seconds
from spot_billing_async.models.windows import DateWindow

if TYPE_CHECKING:  # defaults of type variables are part of Python 3.13; type checkers know them
    from typing_extensions import TypeVar as TypeVarWithDefault

    T = TypeVarWithDefault("T", default=CostItem)
else:
    T = TypeVar("T")

_OPERATION_ID = GET_COSTS.operation_id
_GRACE_S = 1.0
_MAX_DAYS = 3_660  # ten years; looking up a day blocks the event loop for some microseconds
_STEP_ROWS = 5_000  # adding them up blocks the event loop for half a millisecond


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

    async def get(
        self,
        account_id: str | None = None,
        from_date: date | None = None,
        to_date: date | None = None,
        group_by: GroupBy | None = None,
        item_type: type[T] = CostItem,  # type: ignore[assignment]  # the default of T
    ) -> list[T]:
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
        query = CostQuery(
            account_id=account_id if account_id is not None else self._account_id,
            from_date=from_date,
            to_date=to_date,
            group_by=group_by,
        )
        check_query("", query)
        return (await self._fetch(query, item_type=item_type)).items

    def pull(
        self,
        plan: Sequence[CostQuery],
        item_type: type[T] = CostItem,  # type: ignore[assignment]  # the default of T
        ordered: bool = False,
        *,
        deadline_s: float | None = None,
        max_requests: int | None = None,
    ) -> PullRun[T]:
        """Start a pull: fetch every slice (query) of a plan, `max_concurrency` at once.

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
            if not isinstance(plan, list | tuple):
                raise ArgumentError(f"plan must be a CostPlan or a list of CostQuery, got {plan!r}")
            for place, query in enumerate(plan):
                if not isinstance(query, CostQuery):
                    raise ArgumentError(f"plan[{place}] must be a CostQuery, got {query!r}")
                check_query(f"plan[{place}].", query)
        if max_requests is not None:
            check_count("max_requests", max_requests)
        if deadline_s is not None:
            check_seconds("deadline_s", deadline_s)
        decoder_for(item_type)
        shared = self._session.shared
        return PullRun(
            plan,
            partial(self._fetch, item_type=item_type, totalled=True),
            worker_count=shared.config.max_concurrency,
            ordered=ordered,
            deadline_s=deadline_s,
            max_requests=max_requests,
            clock=shared.clock,
            gate=Gate(
                shared.outages,
                self._session.health.scopes(GET_COSTS),
                shared.config.outage_patience_s,
                partial(self.uncached._fetch, item_type=CostItem),  # noqa: SLF001  of the same class
            ),
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
            cached = self._cache_query(query, counts, pull_ends_at_s, item_type)
            if cached is not None:
                self._session.shared.require_open(current_task())
                answer = self._cache.read(cached)
                return _with_totals(answer, item_type) if totalled else answer
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

    def _cache_query(
        self,
        query: CostQuery,
        counts: RequestCounts | None,
        pull_ends_at_s: float | None,
        item_type: type[T],
    ) -> CacheQuery[T] | None:
        """Return the cache query of a cost query; None if the cache cannot serve it by day.

        It can if the query names the account, the first and the last day, at most ten years, and
        the rows of the item type have a date, which is their day (`ClientConfig.row_dates`).
        """
        shared, session, codec = self._session.shared, self._session, codec_for(item_type)
        account_id, first, last = query.account_id, query.from_date, query.to_date
        is_by_day = shared.config.row_dates == "day"
        if not is_by_day or codec is None or account_id is None or first is None or last is None:
            return None
        if (days := DateWindow(first, last)).days > _MAX_DAYS:
            return None

        def fetch(part: DateWindow) -> Awaitable[Answer[T]]:
            part_query = replace(query, from_date=part.from_date, to_date=part.to_date)
            return self.uncached._fetch(part_query, counts, pull_ends_at_s, item_type=item_type)  # noqa: SLF001  of the same class

        deadline_s, clock = shared.config.deadline_s, shared.clock
        own_ends_at_s = clock() + deadline_s if pull_ends_at_s is None else pull_ends_at_s
        ends_at_s = min(own_ends_at_s, hard_end_s(pull_ends_at_s))
        is_own = ends_at_s == own_ends_at_s
        timeout_s = deadline_s if is_own and pull_ends_at_s is None else None
        origin = shared.base_url + shared.paths[_OPERATION_ID]
        return CacheQuery(
            operation_id=_OPERATION_ID,
            credential=session.credential_key,
            series=SeriesKey(session.namespace, origin, account_id, query.group_by, codec.name),
            days=days,
            codec=codec,
            fetch=fetch,
            clock=clock,
            ends_at_s=ends_at_s,
            grace_s=_GRACE_S if is_own else 0.0,
            timeout_message=deadline_message(_OPERATION_ID, timeout_s),
            hook=shared.hook,
        )


async def _with_totals(reading: Awaitable[Answer[T]], item_type: type[T]) -> Answer[T]:
    """Add up the costs of an answer from the cache, in steps."""
    answer = await reading
    # Amounts were checked when they were fetched; only the sum of all can fail here, so the body
    # and the token, which the decoder needs for its error texts, are empty.
    decoder = decoder_for(item_type, totalled=True)
    for start in range(0, len(answer.items), _STEP_ROWS):
        if start:
            await asyncio.sleep(0)
        part = answer.items[start : start + _STEP_ROWS]
        more = decoder.totals(_OPERATION_ID, part, b"", Secret(""))
        answer.totals = add_totals(_OPERATION_ID, answer.totals, more)
    return answer
