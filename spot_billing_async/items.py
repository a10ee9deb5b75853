"""Bodies become envelopes of typed items: strictly and fast, and leniently only where that fails.

What is forgiven is what answers of this API family are known to vary in: ids as JSON integers, a
date-time where a day is meant. What an amount is, is never forgiven.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin

import msgspec

from spot_billing_async.credentials import without
from spot_billing_async.errors import ConfigError, DecodeError
from spot_billing_async.models.envelope import Envelope
from spot_billing_async.models.money import totals_by_currency

T = TypeVar("T")

_KEYS_SHOWN = 20

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON, or JSON of another shape."""

_plain_decoder = msgspec.json.Decoder(float_hook=Decimal)
_plain_encoder = msgspec.json.Encoder(decimal_format="number")


class ItemReader(Generic[T]):
    """Reads bodies whose items are of one type. Made once a type: see `reader_for`."""

    def __init__(self, item_type: type[T]) -> None:
        envelope_type = cast(type[Envelope[T]], Envelope[item_type])  # type: ignore[valid-type]  # a type made at run time
        self._decoder = msgspec.json.Decoder(envelope_type, float_hook=Decimal)
        self._envelope_type = envelope_type
        self._text_keys, self._date_keys = _lenient_keys(item_type)
        self._costs, self._currencies = _money_getters(item_type)

    def decode(self, operation_id: str, body: bytes) -> Envelope[T]:
        """Decode a body.

        Raises:
            DecodeError: not JSON (a body that was cut off is none), or of another shape.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            return self._decode_leniently(operation_id, body)
        except UNREADABLE as error:
            problem = str(error) if isinstance(error, msgspec.DecodeError) else "no readable text"
        raise DecodeError(f"{operation_id}: the body is no JSON: {problem}")

    def _decode_leniently(self, operation_id: str, body: bytes) -> Envelope[T]:
        try:
            plain = _plain_decoder.decode(body)
            for item in _plain_items(plain):
                self._mend(item)
            return self._decoder.decode(_plain_encoder.encode(plain))
        except msgspec.ValidationError as error:
            problem = str(error)
        except UNREADABLE:
            problem = "no readable JSON"
        raise DecodeError(f"{operation_id}: the body has another shape: {problem}")

    def _mend(self, item: dict[str, Any]) -> None:
        for key in self._text_keys & item.keys():
            if type(item[key]) is int:
                item[key] = str(item[key])
        for key in self._date_keys & item.keys():
            item[key] = _day_of(item[key])

    def totals(
        self, operation_id: str, items: list[T], body: bytes, token: str
    ) -> dict[str, Decimal]:
        """Exact sum of the items' costs by currency; {} for a type without `cost: Decimal`.

        Args:
            operation_id: what was asked for.
            items: what was decoded.
            body: what they were decoded from.
            token: cut out of the error, should the body hold it.

        Raises:
            DecodeError: an item has no amount, or one that is no finite number. The message lists
                the keys that the items have: the amount may stand under another one.
        """
        if self._costs is None or not items:
            return {}
        try:
            return totals_by_currency(
                list(map(self._costs, items)), list(map(self._currencies, items))
            )
        except (ArithmeticError, TypeError):
            shown = without(token, _keys_seen(body))
        raise DecodeError(
            f"{operation_id}: an item has no cost that is a finite number; keys seen: {shown}"
        )


def reader_for(item_type: type[T]) -> ItemReader[T]:
    """The reader of an item type.

    Raises:
        ConfigError: msgspec cannot decode the type.
    """
    key: object = item_type
    return cast(ItemReader[T], _cached_reader(key))


@lru_cache(maxsize=64)
def _cached_reader(item_type: type) -> ItemReader[Any]:
    try:
        return ItemReader(item_type)
    except (TypeError, NameError) as error:
        problem = str(error)
    raise ConfigError(f"item_type: {item_type!r} cannot be decoded: {problem}")


def _plain_items(envelope: object) -> list[dict[str, Any]]:
    """The items of an envelope in plain data that are objects; [] where there are none."""
    response = envelope.get("response") if isinstance(envelope, dict) else None
    items = response.get("items") if isinstance(response, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _keys_seen(body: bytes) -> str:
    """The keys of a body's items, for an error's text."""
    try:
        items = _plain_items(_plain_decoder.decode(body))
    except UNREADABLE:
        return "none that are readable"
    return ", ".join(sorted({key for item in items for key in item})[:_KEYS_SHOWN])


def _lenient_keys(item_type: type) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of a struct that take text but no number, and keys that take a day."""
    if not _is_struct(item_type):
        return frozenset(), frozenset()
    kinds = {field.encode_name: _members(field.type) for field in _fields(item_type)}
    return (
        frozenset(key for key, members in kinds.items() if str in members and int not in members),
        frozenset(key for key, members in kinds.items() if date in members),
    )


def _money_getters(item_type: type) -> tuple[Any, Any]:
    """Getters of cost and currency; no cost getter where the type has no `cost: Decimal`."""
    fields = {field.name: _members(field.type) for field in _fields(item_type)}
    if Decimal not in fields.get("cost", ()):
        return None, None
    currency = attrgetter("currency") if "currency" in fields else lambda _: None
    return attrgetter("cost"), currency


def _fields(item_type: type) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(item_type) if _is_struct(item_type) else ()


def _is_struct(item_type: object) -> bool:
    return isinstance(item_type, type) and issubclass(item_type, msgspec.Struct)


def _members(annotation: object) -> set[Any]:
    """The types that an annotation is a union of; itself where it is none."""
    if get_origin(annotation) in {Union, UnionType}:
        return set(get_args(annotation)) - {NoneType}
    return {annotation}


def _day_of(value: object) -> object:
    """The UTC day of a date-time in text; anything else as it is: the strict decoder judges it."""
    try:
        moment = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return value
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
