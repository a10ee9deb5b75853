"""Decoding of bodies to envelopes of typed items: strict and fast, lenient only where that fails.

The lenient pass accepts known variations of this API family: ids as JSON integers, and a date-time
in place of a day. It never changes an amount.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import inspect

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.json_text import UNREADABLE, Strictness, plain_decoder
from spot_billing_async.errors import ConfigError, DecodeError
from spot_billing_async.models.money import merge_totals, require_amounts, totals_by_currency
from spot_billing_async.models.results import Envelope

T = TypeVar("T")
D = TypeVar("D")

_KEYS_SHOWN = 20
_START_BYTES = 200  # of a body that is not JSON, shown in the error
_IDENTITY_FIELDS = (
    ("account_id", "accountId", inspect.StrType),
    ("date", "date", inspect.DateType),
)

# While freezegun replaces `datetime.date`, msgspec's inspection takes the real one for a custom
# type.
_DATES: dict[type, type[inspect.Type]] = {date: inspect.DateType, datetime: inspect.DateTimeType}

_plain_encoder = msgspec.json.Encoder(decimal_format="number")


SaidByRows = tuple[set[Any], set[Any]]
"""Accounts and days that rows name, None for a row that names none. Any: text and days, or None."""


class _Row(msgspec.Struct, rename="camel"):
    """Account and day that a row names, of any type."""

    account_id: Any = None
    date: Any = None


class _Rows(msgspec.Struct):
    items: list[_Row] | None = None


class _RowsEnvelope(msgspec.Struct):
    response: _Rows


_row_decoder = msgspec.json.Decoder(_RowsEnvelope)


class ItemDecoder(Generic[T]):
    """Decoder of bodies whose items have one type. `decoder_for` makes one per type and keeps it.

    With `totalled` the costs are added up, otherwise only checked.
    """

    def __init__(self, item_type: type[T], totalled: bool) -> None:
        envelope_type = cast(type[Envelope[T]], Envelope[item_type])  # type: ignore[valid-type]  # a type made at run time
        list_type = cast(type[list[T]], list[item_type])  # type: ignore[valid-type]  # as above
        self._decoder = msgspec.json.Decoder(envelope_type, float_hook=Decimal)
        self._list_decoder = msgspec.json.Decoder(list_type, float_hook=Decimal)
        info = _object_type(inspect.type_info(item_type))
        fields: dict[str, inspect.Field] = {f.name: f for f in getattr(info, "fields", ())}
        accepted = {f.encode_name: kinds_of(f.type) for f in fields.values()}
        # Keys whose integers become text, and keys whose date-times become days.
        self._text_keys = {
            key
            for key, kinds in accepted.items()
            if inspect.StrType in kinds and inspect.IntType not in kinds
        }
        self._day_keys = {key for key, kinds in accepted.items() if inspect.DateType in kinds}
        self._cost_key: str | None = None  # None where the type has no amounts
        self._amount_key: str | None = None  # key of a cost that must not be None
        self._is_mapping = is_mapping = isinstance(info, inspect.TypedDictType)
        # True where each item holds its account as text, and its day as a day.
        self._names_account_and_day = not (
            is_mapping or isinstance(inspect.type_info(item_type), inspect.UnionType)
        ) and all(
            name in fields
            and fields[name].encode_name == key
            and accepted[key] <= {kind, inspect.NoneType}
            for name, key, kind in _IDENTITY_FIELDS
        )
        cost, currency = fields.get("cost"), fields.get("currency")
        if cost is not None and inspect.DecimalType in accepted[cost.encode_name]:
            if cost.default not in {msgspec.NODEFAULT, None} or (
                cost.default_factory is not msgspec.NODEFAULT
            ):
                raise ConfigError(
                    "item_type must give its cost no default, or None, as a row without an amount "
                    "would get the default"
                )
            self._cost_key = cost.encode_name
            if inspect.NoneType not in accepted[cost.encode_name]:
                self._amount_key = cost.encode_name
        self._strictness = Strictness(self._cost_key)
        self._is_totalled = totalled and currency is not None
        if currency is not None:
            allowed = {inspect.StrType, inspect.LiteralType, inspect.NoneType}
            if not accepted[currency.encode_name] <= allowed:
                raise ConfigError("item_type must type its currency as str, Literal or None")

    def decode(self, operation_id: str, body: bytes, token: Secret) -> Envelope[T]:
        """Decode a body; the token is removed from the error, in case the body holds it.

        Amounts are checked by `totals`, which must be called with the items.

        Raises:
            DecodeError: the body is not valid JSON, as when it was cut off, or has another shape.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError:
            return self._decode_leniently(self._decoder, operation_id, body, token)
        except UNREADABLE as error:
            problem = str(error) if isinstance(error, msgspec.DecodeError) else "unreadable text"
            if body.lstrip()[:1] not in {b"{", b"["}:  # HTML, for example
                problem += f"; it begins with {token.excerpt(body, _START_BYTES)!r}"
            raise DecodeError(f"{operation_id}: the body is not valid JSON: {problem}") from None

    def decode_list(self, operation_id: str, text: bytes, token: Secret) -> list[T] | None:
        """Decode a list of items; None for invalid JSON. Errors are those of `decode`."""
        with suppress(*UNREADABLE):
            try:
                return self._list_decoder.decode(text)
            except msgspec.ValidationError:
                plain_decoder.decode(text)  # raises if it precedes invalid JSON: a wrong cut
                return self._decode_leniently(self._list_decoder, operation_id, text, token)
        return None

    def _decode_leniently(
        self, decoder: msgspec.json.Decoder[D], operation_id: str, text: bytes, token: Secret
    ) -> D:
        """Decode an envelope or a list after repairing its items; raise if that does not help."""
        try:
            plain = plain_decoder.decode(text)
            _repair_request(plain)
            for item in _plain_items(plain):
                self._repair(item)
            return decoder.decode(_plain_encoder.encode(plain))
        except msgspec.ValidationError as error:
            problem, is_json = token.removed_from(str(error)), True
        except UNREADABLE:
            problem, is_json = "unreadable JSON", False
        raise DecodeError(
            f"{operation_id}: the body has an unexpected shape: {problem}", permanent=is_json
        )

    def _repair(self, item: dict[str, Any]) -> None:
        """Convert integer ids to text and date-times to days; mark a missing amount as NaN."""
        for key in self._text_keys & item.keys():
            if type(item[key]) is int:
                item[key] = str(item[key])
        for key in self._day_keys & item.keys():
            item[key] = _day_of(item[key])
        # NaN makes `totals` report the missing amount, with the keys seen and after the envelope
        # was checked for the server's own errors; a bare shape error would name neither.
        if self._amount_key is not None and item.get(self._amount_key) is None:
            item[self._amount_key] = "NaN"

    def totals(
        self, operation_id: str, items: list[T], body: bytes, token: Secret
    ) -> dict[str, Decimal]:
        """Check the text and the amounts of items, and return the exact sum of costs by currency.

        {} for a type without a `cost: Decimal` or a `currency`, and without `totalled`.

        Raises:
            DecodeError: a key is there twice, or an item has no amount that is a finite number. The
                message lists the keys of the items, as the amount may have another key.
        """
        self._strictness.check(operation_id, len(items), body, token)
        if self._cost_key is None or not items:
            return {}
        rows: list[Any] = items
        is_mapping = self._is_mapping
        try:
            costs = [row["cost"] for row in rows] if is_mapping else [row.cost for row in rows]
            if not self._is_totalled:
                require_amounts(costs)
                return {}
            return totals_by_currency(
                costs,
                [row["currency"] for row in rows] if is_mapping else [row.currency for row in rows],
            )
        except (ArithmeticError, TypeError, KeyError, AttributeError):
            keys = token.removed_from(_keys_seen(body))
            raise DecodeError(
                f"{operation_id}: an item has no cost that is a finite number; keys seen: {keys}",
                permanent=True,
            ) from None

    def every_row_says(
        self, items: list[T], account: str | None, days: tuple[date, date] | None
    ) -> bool:
        """Return whether every item has this account and a date within `days` (inclusive).

        False where one of them names none, or where their type holds no account and day as such:
        then `said_by_rows` has to be called. This takes half the time in the usual case.
        """
        if account is None or days is None or not (items and self._names_account_and_day):
            return False
        first, last = days
        rows: list[Any] = items
        try:
            for row in rows:
                if row.account_id != account or not first <= row.date <= last:
                    return False
        except TypeError:  # a row without a day
            return False
        return True

    def said_by_rows(self, items: list[T], text: bytes) -> SaidByRows:
        """Return the accounts and days that items name.

        The text that they were decoded from is read where their type leaves out either.
        """
        if not items:  # a response without a body has no text either
            return set(), set()
        if self._names_account_and_day:
            rows: list[Any] = items
            return {row.account_id for row in rows}, {row.date for row in rows}
        envelope = b'{"response":{"items":%b}}' % text if text.startswith(b"[") else text
        try:
            rows = _row_decoder.decode(envelope).response.items or []
        except UNREADABLE:  # an item that is no object is among them
            plain = _plain_items(plain_decoder.decode(text))
            rows = [_Row(item.get("accountId"), item.get("date")) for item in plain]
        accounts, days = set(), set()
        for row in rows:
            if type(row.account_id) in {str, int}:
                accounts.add(str(row.account_id))
            with suppress(ValueError, TypeError):
                days.add(date.fromisoformat(cast(str, _day_of(row.date))))
        return accounts, days


def add_totals(
    operation_id: str, totals: Mapping[str, Decimal], more: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Add the totals of two parts of a response, by currency."""
    try:
        return merge_totals(totals, more)
    except ArithmeticError:
        problem = f"{operation_id}: the amounts cannot be added without rounding"
        raise DecodeError(problem, permanent=True) from None


# Making a decoder takes milliseconds, so the decoders of the latest types are kept.
_cached_decoder: Callable[[object, bool], ItemDecoder[Any]] = lru_cache(maxsize=64)(ItemDecoder)


def decoder_for(item_type: type[T], *, totalled: bool = False) -> ItemDecoder[T]:
    """Return the decoder of an item type, which adds the items' costs up if `totalled`.

    Raises:
        ConfigError: msgspec cannot decode the type, or its amounts could not be checked.
    """
    try:
        return _cached_decoder(item_type, totalled)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  a text, for example, is evaluated as a type
        raise ConfigError(
            f"item_type must be a type that msgspec can decode, got {item_type!r}: {error}"
        ) from None


def _plain_items(plain: object) -> list[dict[str, Any]]:
    """Return the items of an envelope, or of a list, that are objects."""
    response = plain.get("response") if isinstance(plain, dict) else None
    items = response.get("items") if isinstance(response, dict) else plain
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _repair_request(envelope: object) -> None:
    """Reduce `request` to a usable id and URL: the contract's example has a bare string there."""
    if not isinstance(envelope, dict) or "request" not in envelope:
        return
    request = envelope["request"]
    given = request if isinstance(request, dict) else {}
    kinds = {"id": (str, int), "url": (str,)}
    envelope["request"] = {key: given[key] for key in kinds if type(given.get(key)) in kinds[key]}


def _keys_seen(body: bytes) -> str:
    """Return the keys of a body's items, for an error's message."""
    try:
        items = _plain_items(plain_decoder.decode(body))
    except UNREADABLE:
        return "none that are readable"
    return ", ".join(sorted({key for item in items for key in item})[:_KEYS_SHOWN])


def _object_type(info: inspect.Type) -> inspect.Type:
    """Return the type that has an item's fields, without annotations and None around it."""
    if isinstance(info, inspect.Metadata):
        return _object_type(info.type)
    if not isinstance(info, inspect.UnionType):
        return info
    members = [_object_type(member) for member in info.types]
    objects = [member for member in members if getattr(member, "fields", ())]
    if len(objects) == 1:
        return objects[0]
    if any(field.name == "cost" for member in objects for field in getattr(member, "fields", ())):
        raise ConfigError("item_type must not be a union of types with a cost, got several")
    return info


def kinds_of(kind: inspect.Type) -> set[type[inspect.Type]]:
    """Return the kinds of type that a field accepts."""
    if isinstance(kind, inspect.Metadata):
        return kinds_of(kind.type)
    if isinstance(kind, inspect.UnionType):
        return {accepted for member in kind.types for accepted in kinds_of(member)}
    return {
        _DATES.get(kind.cls, type(kind)) if isinstance(kind, inspect.CustomType) else type(kind)
    }


def _day_of(value: object) -> object:
    """Return the UTC day of a date-time in text; leave anything else to the strict decoder."""
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
        return (moment.astimezone(UTC) if moment.tzinfo else moment).date().isoformat()
    except (ValueError, OverflowError):
        return value
