"""Bodies become envelopes of typed items: strictly and fast, and leniently only where that fails.

What is forgiven is what answers of this API family are known to vary in: ids as JSON integers, a
date-time where a day is meant. What an amount is, is never forgiven.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar, cast

import msgspec
from msgspec import inspect

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.errors import ConfigError, DecodeError
from spot_billing_async.models.envelope import Envelope
from spot_billing_async.models.money import merged_totals, require_amounts, totals_by_currency

T = TypeVar("T")
D = TypeVar("D")

_KEYS_SHOWN = 20

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""What decoding raises for bytes that are no JSON, JSON of another shape, or absurd numbers."""

_plain_decoder = msgspec.json.Decoder(float_hook=Decimal)
_plain_encoder = msgspec.json.Encoder(decimal_format="number")


class ItemDecoder(Generic[T]):
    """Reads bodies whose items are of one type. Made once a type: see `decoder_for`.

    Args:
        item_type: what items are decoded to.
        totalled: their costs are added up, and not just looked at.
    """

    def __init__(self, item_type: type[T], *, totalled: bool) -> None:
        envelope_type = cast(type[Envelope[T]], Envelope[item_type])  # type: ignore[valid-type]  # a type made at run time
        list_type = cast(type[list[T]], list[item_type])  # type: ignore[valid-type]  # as above
        self._decoder = msgspec.json.Decoder(envelope_type, float_hook=Decimal)
        self._list_decoder = msgspec.json.Decoder(list_type, float_hook=Decimal)
        self._shape = _shape_of(item_type)
        self._currencies = self._shape.currencies if totalled else None

    def decode(self, operation_id: str, body: bytes, token: Secret) -> Envelope[T]:
        """Decode a body; the token is cut out of the error, should the body hold it.

        Raises:
            DecodeError: not JSON (a body that was cut off is none), or of another shape.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            return self._leniently(self._decoder, operation_id, body, token)
        except UNREADABLE as error:
            problem = str(error) if isinstance(error, msgspec.DecodeError) else "no readable text"
        raise DecodeError(f"{operation_id}: the body is no JSON: {problem}")

    def decode_list(self, operation_id: str, text: bytes, token: Secret) -> list[T] | None:
        """Decode a list of items; None for what is no JSON.

        Raises:
            DecodeError: it is of another shape.
        """
        try:
            return self._list_decoder.decode(text)
        except msgspec.ValidationError:
            pass
        except UNREADABLE:
            return None
        try:
            _plain_decoder.decode(text)
        except UNREADABLE:
            return None
        return self._leniently(self._list_decoder, operation_id, text, token)

    def _leniently(
        self, decoder: msgspec.json.Decoder[D], operation_id: str, text: bytes, token: Secret
    ) -> D:
        """Decode what holds items after mending them."""
        is_json = True
        try:
            plain = _plain_decoder.decode(text)
            _mend_request(plain)
            for item in _plain_items(plain):
                self._mend(item)
            return decoder.decode(_plain_encoder.encode(plain))
        except msgspec.ValidationError as error:
            problem = token.removed_from(str(error))
        except UNREADABLE:
            is_json, problem = False, "no readable JSON"
        raise DecodeError(
            f"{operation_id}: the body has another shape: {problem}", permanent=is_json
        )

    def _mend(self, item: dict[str, Any]) -> None:
        for key in self._shape.text_keys & item.keys():
            if type(item[key]) is int:
                item[key] = str(item[key])
        for key in self._shape.day_keys & item.keys():
            item[key] = _day_of(item[key])

    def totals(
        self, operation_id: str, items: list[T], body: bytes, token: Secret
    ) -> dict[str, Decimal]:
        """Exact sum of the items' costs by currency, all of which are amounts.

        {} for a type that has no `cost: Decimal`, or no `currency` to tell the sums apart by, and
        where nobody asked for totals.

        Args:
            operation_id: what was asked for.
            items: what was decoded.
            body: what they were decoded from.
            token: cut out of the error, should the body hold it.

        Raises:
            DecodeError: an item has no amount, or one that is no finite number. The message lists
                the keys that the items have: the amount may stand under another one.
        """
        if self._shape.costs is None or not items:
            return {}
        try:
            costs = self._shape.costs(items)
            if self._currencies is not None:
                return totals_by_currency(costs, self._currencies(items))
            require_amounts(costs)
        except (ArithmeticError, TypeError, KeyError, AttributeError):
            shown = token.removed_from(_keys_seen(body))
        else:
            return {}
        raise DecodeError(
            f"{operation_id}: an item has no cost that is a finite number; keys seen: {shown}",
            permanent=True,
        )


def added_totals(
    operation_id: str, totals: Mapping[str, Decimal], more: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """The totals of two parts of an answer, by currency.

    Raises:
        DecodeError: they cannot be added without rounding.
    """
    try:
        return merged_totals(totals, more)
    except ArithmeticError:
        problem = f"{operation_id}: the amounts cannot be added without rounding"
    raise DecodeError(problem, permanent=True)


def decoder_for(item_type: type[T], *, totalled: bool = False) -> ItemDecoder[T]:
    """The reader of an item type, which adds the items' costs up where they are to be `totalled`.

    Raises:
        ConfigError: msgspec cannot decode the type.
    """
    key: object = item_type  # a type is hashable, but its declaration does not say so
    try:
        return _cached_reader(key, totalled)
    except (TypeError, NameError) as error:
        problem = str(error)
    raise ConfigError(f"item_type: {item_type!r} cannot be decoded: {problem}")


@lru_cache(maxsize=64)
def _cached_reader(item_type: type, totalled: bool) -> ItemDecoder[Any]:
    return ItemDecoder(item_type, totalled=totalled)


def _plain_items(text: object) -> list[dict[str, Any]]:
    """The items of an envelope, or of a list, that are objects; [] where there are none."""
    response = text.get("response") if isinstance(text, dict) else None
    items = response.get("items") if isinstance(response, dict) else text
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _mend_request(envelope: object) -> None:
    """Leave nothing of `request` that names no id: a bare string, as in the contract's example."""
    if not isinstance(envelope, dict) or "request" not in envelope:
        return
    request = envelope["request"]
    request_id = request.get("id") if isinstance(request, dict) else None
    is_id = isinstance(request_id, str | int) and not isinstance(request_id, bool)
    envelope["request"] = {"id": request_id} if is_id else None


def _keys_seen(body: bytes) -> str:
    """The keys of a body's items, for an error's text."""
    try:
        items = _plain_items(_plain_decoder.decode(body))
    except UNREADABLE:
        return "none that are readable"
    return ", ".join(sorted({key for item in items for key in item})[:_KEYS_SHOWN])


Column = Callable[[list[Any]], list[Any]]
"""One field of all items. Any: they are of a caller's type."""


def _costs(items: list[Any]) -> list[Any]:
    return [item.cost for item in items]  # half of what a getter takes that is made at run time


def _currencies(items: list[Any]) -> list[Any]:
    return [item.currency for item in items]


def _costs_of_mappings(items: list[Any]) -> list[Any]:
    return [item["cost"] for item in items]


def _currencies_of_mappings(items: list[Any]) -> list[Any]:
    return [item["currency"] for item in items]


class _Shape(NamedTuple):
    """What has to be known of an item type: keys that are mended, and where its money is."""

    text_keys: frozenset[str]
    day_keys: frozenset[str]
    costs: Column | None
    currencies: Column | None


def _shape_of(item_type: type) -> _Shape:
    """The shape of a struct, dataclass, TypedDict or named tuple; an empty one of any other type.

    Raises:
        ConfigError: a missing amount would decode as one, or the currency is no text.
    """
    info = _object_type(inspect.type_info(item_type))
    fields: dict[str, inspect.Field] = {f.name: f for f in getattr(info, "fields", ())}
    kinds = {f.encode_name: _kinds(f.type) for f in fields.values()}
    is_mapping = isinstance(info, inspect.TypedDictType)
    return _Shape(
        frozenset(
            k for k, met in kinds.items() if inspect.StrType in met and inspect.IntType not in met
        ),
        frozenset(k for k, met in kinds.items() if inspect.DateType in met),
        (_costs_of_mappings if is_mapping else _costs) if _is_amount(fields.get("cost")) else None,
        (_currencies_of_mappings if is_mapping else _currencies)
        if _is_currency(fields.get("currency"))
        else None,
    )


def _object_type(info: inspect.Type) -> inspect.Type:
    """The type that says what an item is made of, without what is wrapped around it.

    Raises:
        ConfigError: there are several, and their amounts could not be checked.
    """
    if isinstance(info, inspect.Metadata):
        return _object_type(info.type)
    if not isinstance(info, inspect.UnionType):
        return info
    members = [_object_type(member) for member in info.types]
    objects = [member for member in members if getattr(member, "fields", ())]
    if len(objects) == 1:
        return objects[0]
    if any(field.name == "cost" for member in objects for field in getattr(member, "fields", ())):
        raise ConfigError("item_type: it is a union of types with a cost; allowed: one of them")
    return info


def _is_amount(field: inspect.Field | None) -> bool:
    if field is None or inspect.DecimalType not in _kinds(field.type):
        return False
    if field.default not in {msgspec.NODEFAULT, None} or (
        field.default_factory is not msgspec.NODEFAULT
    ):
        raise ConfigError(
            "item_type: its cost has a default, which a row without an amount would take for one; "
            "allowed: no default, or None"
        )
    return True


def _is_currency(field: inspect.Field | None) -> bool:
    if field is None:
        return False
    if not _kinds(field.type) <= {inspect.StrType, inspect.LiteralType, inspect.NoneType}:
        raise ConfigError("item_type: its currency is no text; allowed: str, Literal, or None")
    return True


def _kinds(kind: inspect.Type) -> set[type[inspect.Type]]:
    """The kinds of type that a field accepts."""
    if isinstance(kind, inspect.Metadata):
        return _kinds(kind.type)
    if isinstance(kind, inspect.UnionType):
        return {met for member in kind.types for met in _kinds(member)}
    return {type(kind)}


def _day_of(value: object) -> object:
    """The UTC day of a date-time in text; anything else as it is: the strict decoder judges it."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except (ValueError, OverflowError):
        return value
