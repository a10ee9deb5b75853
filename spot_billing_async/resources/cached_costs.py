"""Costs through the cache: the cache query of a cost query, and the totals of its rows."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from spot_billing_async._core.aio.deadline import deadline_message, hard_end_s
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.decoder import add_totals, decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async.cache import CostCache
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import CacheQuery, SeriesKey
from spot_billing_async.models import CostQuery
from spot_billing_async.models.results import Answer
from spot_billing_async.models.windows import DateWindow

T = TypeVar("T")

_OPERATION_ID = GET_COSTS.operation_id
_GRACE_S = 1.0
_MAX_DAYS = 3_660  # ten years; looking up a day blocks the event loop for some microseconds
_STEP_ROWS = 5_000  # adding them up blocks the event loop for half a millisecond


def cache_query_for(
    session: SessionManager,
    query: CostQuery,
    item_type: type[T],
    fetch: Callable[[CostQuery], Awaitable[Answer[T]]],
    pull_ends_at_s: float | None,
) -> CacheQuery[T] | None:
    """Return the cache query of a cost query; None if the cache cannot serve it by day.

    It can if the query names the account, the first and the last day, at most ten years, and the
    rows of the item type have a date, which is their day (`ClientConfig.row_dates`).

    Args:
        session: session whose limits, clock and hook are used.
        query: the cost query.
        item_type: type that the rows are decoded to.
        fetch: requests the query, or a part of it, from the API.
        pull_ends_at_s: reading of the session's clock at which the pull ends; None for a single
            call, which has the client's `deadline_s`.

    Raises:
        ConfigError: the item type cannot be decoded.
        DeadlineExceededError: the caller's deadline has passed.
    """
    codec = codec_for(item_type)
    account_id, first, last = query.account_id, query.from_date, query.to_date
    is_by_day = session.shared.config.row_dates == "day"
    if not is_by_day or codec is None or account_id is None or first is None or last is None:
        return None
    days = DateWindow(first, last)
    if days.days > _MAX_DAYS:
        return None
    deadline_s = session.shared.config.deadline_s
    clock = session.shared.clock
    own_ends_at_s = clock() + deadline_s if pull_ends_at_s is None else pull_ends_at_s
    ends_at_s = min(own_ends_at_s, hard_end_s(pull_ends_at_s, clock))
    is_own = ends_at_s == own_ends_at_s
    return CacheQuery(
        operation_id=_OPERATION_ID,
        series=SeriesKey(
            session.namespace,
            session.shared.base_url + session.shared.paths[_OPERATION_ID],
            account_id,
            query.group_by,
            codec.name,
        ),
        days=days,
        codec=codec,
        fetch=lambda days: fetch(
            msgspec.structs.replace(query, from_date=days.from_date, to_date=days.to_date)
        ),
        clock=clock,
        ends_at_s=ends_at_s,
        grace_s=_GRACE_S if is_own else 0.0,
        timeout_message=deadline_message(
            _OPERATION_ID, deadline_s if is_own and pull_ends_at_s is None else None
        ),
        hook=session.shared.hook,
    )


async def read_cached(
    cache: CostCache, query: CacheQuery[T], item_type: type[T], *, totalled: bool
) -> Answer[T]:
    """Read a query through the cache; with `totalled`, add up its costs in steps.

    Raises:
        SpotBillingError: as `CostCache.read`; or the amounts cannot be added exactly.
    """
    answer = await cache.read(query)
    if not totalled:
        return answer
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
