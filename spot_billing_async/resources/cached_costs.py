"""Costs by way of the cache: what of a query it can be asked, and what its rows come to."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from spot_billing_async._core.aio.deadline import hard_end_s, overrun
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.decoder import add_totals, decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async.cache import CostCache
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.cache.query import Ask, Series
from spot_billing_async.models import CostQuery
from spot_billing_async.models.results import Answer
from spot_billing_async.models.windows import DateWindow

T = TypeVar("T")

_OPERATION_ID = GET_COSTS.operation_id
_GRACE_S = 1.0
_MOST_DAYS = 3_660  # ten years: each day takes some microseconds, all of them at once
_ROWS_AT_ONCE = 5_000  # are added up in half a millisecond


def ask_of(
    session: SessionManager,
    query: CostQuery,
    item_type: type[T],
    fetch: Callable[[CostQuery], Awaitable[Answer[T]]],
    pull_ends_at_s: float | None,
) -> Ask[T] | None:
    """What the cache is asked for a query; None for one that cannot be cut into days.

    Args:
        session: whose limits, and whose hook.
        query: account, first and last day have to be named, and be at most ten years apart.
        item_type: what its rows are decoded to; they have to say which day they are of.
        fetch: asks the API, for parts of the query too.
        pull_ends_at_s: as for `calls.call`.

    Raises:
        ConfigError: the type cannot be decoded.
    """
    codec = codec_for(item_type)
    account_id, first, last = query.account_id, query.from_date, query.to_date
    if codec is None or account_id is None or first is None or last is None:
        return None
    days = DateWindow(first, last)
    if days.days > _MOST_DAYS:
        return None
    deadline_s = session.config.deadline_s
    own_ends_at_s = session.clock() + deadline_s if pull_ends_at_s is None else pull_ends_at_s
    ends_at_s = min(own_ends_at_s, hard_end_s(pull_ends_at_s, session.clock))
    is_own = ends_at_s == own_ends_at_s
    return Ask(
        operation_id=_OPERATION_ID,
        series=Series(
            session.namespace,
            session.base_url + session.path_of(GET_COSTS),
            account_id,
            query.group_by,
            codec.name,
        ),
        days=days,
        codec=codec,
        fetch=lambda days: fetch(
            msgspec.structs.replace(query, from_date=days.from_date, to_date=days.to_date)
        ),
        clock=session.clock,
        ends_at_s=ends_at_s,
        grace_s=_GRACE_S if is_own else 0.0,
        late=overrun(_OPERATION_ID, deadline_s if is_own and pull_ends_at_s is None else None),
        hook=session.hook,
    )


async def answered(
    cache: CostCache, ask: Ask[T], item_type: type[T], *, totalled: bool
) -> Answer[T]:
    """What the cache answers, with its costs added up where they are to be `totalled`.

    Raises:
        SpotBillingError: as `CostCache.read`; or the amounts cannot be added exactly.
    """
    found = await cache.read(ask)
    totals = await _totals(found.items, item_type) if totalled else {}
    return Answer(found.items, found.request_id, None, totals)


async def _totals(items: list[T], item_type: type[T]) -> dict[str, Decimal]:
    """The items' costs by currency, added up some at a time.

    Each day was looked at as it came; here nothing can fail but the sum of all.
    """
    reader = decoder_for(item_type, totalled=True)
    totals: dict[str, Decimal] = {}
    for place in range(0, len(items), _ROWS_AT_ONCE):
        if place:
            await asyncio.sleep(0)
        part = items[place : place + _ROWS_AT_ONCE]
        more = reader.totals(_OPERATION_ID, part, b"", Secret(""))
        totals = add_totals(_OPERATION_ID, totals, more)
    return totals
