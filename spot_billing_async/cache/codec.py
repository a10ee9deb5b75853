"""Rows as bytes, day by day, and back: exactly, or not at all.

What is kept are bytes, so that nobody can change another caller's rows, and a bound in bytes means
something. They are JSON, which is what the rows came from: whatever type a caller decodes them to,
it reads there what it read in the answer. A row that comes back as another one is not kept.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, itemgetter
from secrets import token_hex
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import inspect

from spot_billing_async._core.protocol.decoder import UNREADABLE, decoder_for
from spot_billing_async._core.protocol.streaming_decoder import LARGE_BYTES, LargeList

T = TypeVar("T")

_ROWS_AT_ONCE = 200  # some 40 KB: a step of a third of a millisecond
_STEP_BYTES = 64 * 1024
_SEPARATOR = b"\n"  # in no JSON that msgspec writes

_encoder = msgspec.json.Encoder(decimal_format="number")


class Codec(Generic[T]):
    """Writes and reads the rows of a type that say which day they are of. See `codec_for`.

    Attributes:
        name: tells the type from any other, and from itself as it was before it was changed.
    """

    def __init__(self, item_type: type[T], day_of: Callable[[T], Any]) -> None:
        list_type = cast(type[list[T]], list[item_type])  # type: ignore[valid-type]  # a type made at run time
        self._decoder = msgspec.json.Decoder(list_type, float_hook=Decimal)
        self._day_of = day_of
        self.name = _name_of(item_type)

    async def by_day(self, rows: Sequence[T], days: Iterable[date]) -> dict[date, bytes] | None:
        """Rows as bytes by their day, in their order; a day without rows is there as well.

        None where they cannot be told apart by day, or do not come back as they are: then they must
        not be kept.
        """
        found: dict[date, list[T]] = {day: [] for day in days}
        try:
            for place in range(0, len(rows), _ROWS_AT_ONCE):
                if place:
                    await asyncio.sleep(0)
                for row in rows[place : place + _ROWS_AT_ONCE]:
                    found[self._day_of(row)].append(row)
            pauses = Pauses()
            return {day: await self._written(mine, pauses) for day, mine in found.items()}
        except Exception:  # noqa: BLE001  no day, another one; or a caller's type that cannot be written
            return None

    async def _written(self, rows: list[T], pauses: "Pauses") -> bytes:
        parts = []
        for place in range(0, len(rows), _ROWS_AT_ONCE):
            part = _encoder.encode(rows[place : place + _ROWS_AT_ONCE])
            if _SEPARATOR in part or _encoder.encode(self._decoder.decode(part)) != part:
                raise ValueError("these rows do not come back as they are")
            parts.append(part)
            if pauses.due(len(part)):
                await asyncio.sleep(0)
        return _SEPARATOR.join(parts)

    async def rows_of(self, days: Sequence[bytes]) -> list[T] | None:
        """The rows of some days, one after the other; None where a day cannot be read."""
        rows: list[T] = LargeList() if sum(map(len, days)) > LARGE_BYTES else []
        pauses = Pauses()
        try:
            for day in days:
                for part in day.split(_SEPARATOR) if day else ():
                    rows += self._decoder.decode(part)
                    if pauses.due(len(part)):
                        await asyncio.sleep(0)
        except UNREADABLE:
            return None
        return rows


class Pauses:
    """Tells when to let the event loop do other things: after each so many bytes."""

    def __init__(self) -> None:
        self._left_bytes = _STEP_BYTES

    def due(self, size_bytes: int) -> bool:
        """Whether it is time, after so many more bytes."""
        self._left_bytes -= size_bytes
        if self._left_bytes >= 0:
            return False
        self._left_bytes = _STEP_BYTES
        return True


def codec_for(item_type: type[T]) -> Codec[T] | None:
    """The codec of an item type; None where its rows do not say which day they are of.

    They do where it has a field `date` of the type `date`, or of that or None, without a default
    other than None.

    Raises:
        ConfigError: msgspec cannot decode the type.
    """
    decoder_for(item_type)
    key: object = item_type  # a type is hashable, but its declaration does not say so
    return cast("Codec[T] | None", _cached_codec(key))


@lru_cache(maxsize=64)
def _cached_codec(item_type: type) -> Codec[Any] | None:
    info = inspect.type_info(item_type)
    field = next((each for each in getattr(info, "fields", ()) if each.name == "date"), None)
    if field is None or field.default_factory is not msgspec.NODEFAULT:
        return None
    kinds = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
    met = {type(kind) for kind in kinds} - {inspect.NoneType}
    if met != {inspect.DateType} or field.default not in {msgspec.NODEFAULT, None}:
        return None
    getter = itemgetter if isinstance(info, inspect.TypedDictType) else attrgetter
    return Codec(item_type, getter("date"))


def _name_of(item_type: type) -> str:
    """What tells a type from others: its name and its fields.

    One that other processes cannot import may be another one there, even if it looks alike.
    """
    name = f"{item_type!r} {inspect.type_info(item_type)!r}"
    is_local = "<locals>" in name or "__main__" in name
    return f"{name} {token_hex(16)}" if is_local else name
