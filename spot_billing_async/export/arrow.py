"""Costs as Arrow tables, with exact amounts (extra: export).

Amounts are decimal128(38, 18). If one needs more decimals, the whole column gets the scale that it
needs, so that no amount is rounded. Amounts that do not fit one decimal128 type are an error.
"""

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Context, Decimal, Inexact, Rounded
from itertools import chain, repeat
from operator import itemgetter
from typing import Any

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.bulk.records import COLUMNS, Batch
from spot_billing_async.errors import MissingExtraError
from spot_billing_async.export.sinks import ExportError
from spot_billing_async.models import CostItem

try:
    import pyarrow as pa
except ImportError as _missing:
    raise MissingExtraError("Parquet and Arrow need pyarrow: pip install '.[export]'") from _missing

DEFAULT_SCALE = 18
_PRECISION = 38
# Contexts that raise: the default one would round amounts of more than 28 digits.
_UNROUNDED = Context(prec=200, traps=[Inexact])
_WITHIN_ARROW = Context(prec=_PRECISION, traps=[Rounded])
_OUTCOME_COLUMNS: dict[str, Callable[[Fetched[CostItem]], object]] = {
    "query_account_id": lambda outcome: outcome.query.account_id,
    "query_from": lambda outcome: outcome.query.from_date,
    "query_to": lambda outcome: outcome.query.to_date,
    "group_by": lambda outcome: outcome.query.group_by,
    "request_id": lambda outcome: outcome.request_id,
}
"""Getters of the columns whose value is the same in all rows of an outcome."""

_ITEM_COLUMNS: dict[str, Callable[[list[CostItem]], list[Any]]] = {
    "account_id": lambda items: [item.account_id for item in items],
    "cloud_provider": lambda items: [item.cloud_provider for item in items],
    "service": lambda items: [item.service for item in items],
    "region": lambda items: [item.region for item in items],
    "family_id": lambda items: [item.family_id for item in items],
    "family": lambda items: [item.family for item in items],
    "date": lambda items: [item.date for item in items],
    "currency": lambda items: [item.currency for item in items],
}
"""Getters of the columns of items. Written out: twice as fast as `operator.attrgetter`.

They return `list[Any]` because `_TYPES` has the types of the values.
"""

_DATES = {"query_from", "query_to", "date"}
_TYPES = {name: pa.date32() if name in _DATES else pa.string() for name in COLUMNS}


def schema(scale: int = DEFAULT_SCALE) -> pa.Schema:
    """Return the Arrow schema of an export whose amounts have `scale` decimals."""
    return pa.schema(_TYPES | {"cost": pa.decimal128(_PRECISION, scale)})


def to_arrow(outcomes: Iterable[Fetched[CostItem]]) -> pa.Table:
    """Return the rows of some outcomes as an Arrow table of strings, date32 and decimal128.

    Raises:
        ExportError: the amounts do not fit one decimal128 type exactly; the message names one.
    """
    return batch_table(list(outcomes), DEFAULT_SCALE)


def batch_table(batch: Batch, scale: int) -> pa.Table:
    """Return a batch as a table whose amounts have `scale` decimals, or more if one needs more.

    Raises:
        ExportError: the amounts do not fit one decimal128 type exactly; the message names one.
    """
    items = [item for outcome in batch for item in outcome.items]
    costs = [item.cost for item in items]
    try:
        # Arrow converts some amounts of more than 38 digits to 0 instead of rejecting them.
        deque(map(_WITHIN_ARROW.plus, filter(None, costs)), maxlen=0)
        amounts = pa.array(costs, schema(scale).field("cost").type)
    except (pa.ArrowInvalid, Rounded):
        shortest = [_shortest(cost) for cost in costs]
        scale = _fitting_scale(shortest, scale)
        amounts = pa.array(shortest, schema(scale).field("cost").type)
    # The columns of an outcome are built once per outcome, and then repeated for its rows.
    indexes = chain.from_iterable(repeat(n, len(each.items)) for n, each in enumerate(batch))
    outcome_of_row = pa.array(list(indexes), pa.int32())
    arrays = {"cost": amounts}
    for name, of_outcome in _OUTCOME_COLUMNS.items():
        arrays[name] = _column(name, list(map(of_outcome, batch))).take(outcome_of_row)
    for name, of_items in _ITEM_COLUMNS.items():
        arrays[name] = _column(name, of_items(items))
    return pa.table([arrays[name] for name in COLUMNS], schema=schema(scale))


def _column(name: str, values: list[Any]) -> pa.Array:
    """Return the values as an Arrow array; fast if all are equal, as they are in most columns."""
    kind = _TYPES[name]
    if values and values.count(values[0]) == len(values):
        return pa.repeat(pa.scalar(values[0], kind), len(values))
    return pa.array(values, kind)


def widened(table: pa.Table, scale: int) -> pa.Table:
    """Return the table with amounts of `scale` decimals, which is more than it has.

    Raises:
        ExportError: an amount has too many digits before the decimal point.
    """
    try:
        return table.cast(schema(scale))
    except pa.ArrowInvalid as error:
        raise ExportError(
            f"an amount of {scale} decimals and an earlier amount do not both fit "
            f"decimal128({_PRECISION}, {scale}): {error}"
        ) from error


def _fitting_scale(costs: Iterable[Decimal], least: int) -> int:
    """Return the number of decimals, at least `least`, that holds all amounts exactly.

    Args:
        costs: finite amounts without trailing zeros.
        least: minimum number of decimals.

    Raises:
        ExportError: no number of decimals fits; the message names the amount that is too large.
    """
    sizes = []  # of each amount: digits before the decimal point, and after it
    for cost in costs:
        _, digits, exponent = cost.as_tuple()
        power = int(exponent)
        sizes.append((cost, max(0, len(digits) + power) if cost else 0, max(0, -power)))
    finest, _, decimals = max(sizes, key=itemgetter(2))
    largest, integers, _ = max(sizes, key=itemgetter(1))
    scale = max(least, decimals)
    if integers + scale <= _PRECISION:
        return scale
    cause = f"; {finest:f} needs that scale" if decimals > least and finest != largest else ""
    raise ExportError(f"cost {largest:f} does not fit decimal128({_PRECISION}, {scale}){cause}")


def _shortest(cost: Decimal) -> Decimal:
    """Return the amount without trailing zeros, which need no decimals.

    Raises:
        ExportError: the amount is not finite, or has more than 200 digits.
    """
    try:
        if cost.is_finite():
            return cost.normalize(_UNROUNDED)
    except ArithmeticError:
        pass
    raise ExportError(
        f"cost must be a finite number of at most {_UNROUNDED.prec} digits, got {cost}"
    )
