"""Costs as Arrow tables, with exact amounts (extra: export).

An amount is a decimal128 of 38 digits, 18 of them decimals, unless one needs more decimals: then
all get the scale that it needs, so that none is rounded. What fits no such type is an error.
"""

from collections import deque
from collections.abc import Callable, Iterable
from decimal import Context, Decimal, Inexact, Rounded
from itertools import chain, repeat
from typing import Any

from spot_billing_async.bulk.outcome import Fetched
from spot_billing_async.bulk.records import COLUMNS, Batch
from spot_billing_async.errors import MissingExtraError
from spot_billing_async.export.sinks import ExportError
from spot_billing_async.models import CostItem

try:
    import pyarrow as pa
except ImportError as error:
    raise MissingExtraError(
        "Parquet and Arrow need an extra: pip install 'spot-billing-async[export]'"
    ) from error

DEFAULT_SCALE = 18
_PRECISION = 38
_WIDE = Context(prec=200, traps=[Inexact])
_ARROWS = Context(prec=_PRECISION, traps=[Rounded])
_OF_OUTCOME: dict[str, Callable[[Fetched[CostItem]], object]] = {
    "query_account_id": lambda outcome: outcome.query.account_id,
    "query_from": lambda outcome: outcome.query.from_date,
    "query_to": lambda outcome: outcome.query.to_date,
    "group_by": lambda outcome: outcome.query.group_by,
    "request_id": lambda outcome: outcome.request_id,
}
"""Columns that all rows of an outcome have in common."""

_OF_ITEMS: dict[str, Callable[[list[CostItem]], list[Any]]] = {
    "account_id": lambda items: [item.account_id for item in items],
    "cloud_provider": lambda items: [item.cloud_provider for item in items],
    "service": lambda items: [item.service for item in items],
    "region": lambda items: [item.region for item in items],
    "family_id": lambda items: [item.family_id for item in items],
    "family": lambda items: [item.family for item in items],
    "date": lambda items: [item.date for item in items],
    "currency": lambda items: [item.currency for item in items],
}
"""Columns of the rows' own; spelled out, as a getter that is made at run time takes twice as long.

Any: Arrow's types say what the values are.
"""

_DATES = {"query_from", "query_to", "date"}
_TYPES = {name: pa.date32() if name in _DATES else pa.string() for name in COLUMNS}


def schema(scale: int = DEFAULT_SCALE) -> pa.Schema:
    """The Arrow schema of an export whose amounts have `scale` decimals."""
    return pa.schema(_TYPES | {"cost": pa.decimal128(_PRECISION, scale)})


def to_arrow(outcomes: Iterable[Fetched[CostItem]]) -> pa.Table:
    """An Arrow table of all rows of some outcomes: strings, date32, and decimal128 for the cost.

    Raises:
        ExportError: an amount cannot be held exactly beside the others; names it.
    """
    return batch_table(list(outcomes), DEFAULT_SCALE)


def batch_table(batch: Batch, scale: int) -> pa.Table:
    """The table of a batch, whose amounts have `scale` decimals, or more where one needs more.

    Raises:
        ExportError: an amount cannot be held exactly; names it.
    """
    items = [item for outcome in batch for item in outcome.items]
    costs = [item.cost for item in items]
    try:
        # Arrow takes some amounts of more digits for 0 rather than refuse them.
        deque(map(_ARROWS.plus, filter(None, costs)), maxlen=0)
        amounts = pa.array(costs, schema(scale).field("cost").type)
    except (pa.ArrowInvalid, Rounded):
        shortest = [_shortest(cost) for cost in costs]
        scale = _fitting_scale(shortest, scale)
        amounts = pa.array(shortest, schema(scale).field("cost").type)
    places = chain.from_iterable(repeat(n, len(each.items)) for n, each in enumerate(batch))
    outcome_of_row = pa.array(list(places), pa.int32())
    arrays = {"cost": amounts}
    for name, of_outcome in _OF_OUTCOME.items():
        arrays[name] = _column(name, list(map(of_outcome, batch))).take(outcome_of_row)
    for name, of_items in _OF_ITEMS.items():
        arrays[name] = _column(name, of_items(items))
    return pa.table([arrays[name] for name in COLUMNS], schema=schema(scale))


def _column(name: str, values: list[Any]) -> pa.Array:
    """A column of these values; most of the time all are the same one."""
    kind = _TYPES[name]
    if values and values.count(values[0]) == len(values):
        return pa.repeat(pa.scalar(values[0], kind), len(values))
    return pa.array(values, kind)


def widened(table: pa.Table, scale: int) -> pa.Table:
    """The same table with amounts of more decimals.

    Raises:
        ExportError: an amount has too many digits before the point for that.
    """
    try:
        return table.cast(schema(scale))
    except pa.ArrowInvalid as error:
        raise ExportError(
            f"an amount of {scale} decimals and an earlier one do not fit the same "
            f"decimal128({_PRECISION}, {scale}): {error}"
        ) from error


def _fitting_scale(costs: Iterable[Decimal], least: int) -> int:
    """The number of decimals that holds all amounts exactly, at least `least`."""
    shapes = [(cost, *_digits(cost)) for cost in costs]
    finest, _, decimals = max(shapes, key=lambda shape: shape[2])
    largest, integers, _ = max(shapes, key=lambda shape: shape[1])
    scale = max(least, decimals)
    if integers + scale <= _PRECISION:
        return scale
    cause = f"; {finest:f} needs that scale" if decimals > least and finest != largest else ""
    raise ExportError(f"cost {largest:f} does not fit decimal128({_PRECISION}, {scale}){cause}")


def _shortest(cost: Decimal) -> Decimal:
    """The same amount without zeros at its end, which need no room.

    Raises:
        ExportError: it is no finite number, or has over 200 digits.
    """
    try:
        if cost.is_finite():
            return cost.normalize(_WIDE)
    except ArithmeticError:
        pass
    raise ExportError(f"cost {cost} is no finite number of at most {_WIDE.prec} digits")


def _digits(cost: Decimal) -> tuple[int, int]:
    """How many digits an amount without zeros at its end needs before and after the point."""
    _, digits, exponent = cost.as_tuple()
    power = int(exponent)
    return max(0, len(digits) + power) if cost else 0, max(0, -power)
