"""Exact encoding of rows as bytes, one value per day.

The cache keeps bytes, so that callers cannot change each other's rows and a limit in bytes is
exact. They are JSON like the response, so any item type decodes them as it decoded the response.
Rows that do not survive the round trip unchanged are not kept.
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

from spot_billing_async._core.protocol.decoder import decoder_for, kinds_of
from spot_billing_async._core.protocol.json_text import UNREADABLE
from spot_billing_async._core.protocol.streaming_decoder import LARGE_BYTES, LargeList

T = TypeVar("T")

_STEP_ROWS = 200  # about 40 KB, which block the event loop for a third of a millisecond
_STEP_BYTES = 64 * 1024  # decoded before the event loop runs other tasks
_SEPARATOR = b"\n"  # msgspec writes JSON without it

_encoder = msgspec.json.Encoder(decimal_format="number")


class Codec(Generic[T]):
    """Encoder and decoder of rows that have a day. Made by `codec_for`."""

    def __init__(self, item_type: type[T], day_of: Callable[[T], Any]) -> None:
        list_type = cast(type[list[T]], list[item_type])  # type: ignore[valid-type]  # a type made at run time
        self._decoder = msgspec.json.Decoder(list_type, float_hook=Decimal)
        self._day_of = day_of
        # Part of the cache keys: identifies the type and its present fields.
        self.name: str = f"{item_type!r} {inspect.type_info(item_type)!r}"
        # A type that other processes cannot import may have the same name and other code there.
        if "<locals>" in self.name or "__main__" in self.name:
            self.name += f" {token_hex(16)}"

    async def encode_by_day(
        self, rows: Sequence[T], days: Iterable[date]
    ) -> dict[date, bytes] | None:
        """Encode the rows of each day, in their order; a day without rows has an empty value.

        Returns:
            Values by day; None if a row has another day or none, or does not survive the round
            trip. Such rows must not be kept.
        """
        by_day: dict[date, list[T]] = {day: [] for day in days}
        values: dict[date, bytes] = {}
        size_bytes = 0
        try:
            for place in range(0, len(rows), _STEP_ROWS):
                if place:
                    await asyncio.sleep(0)
                for row in rows[place : place + _STEP_ROWS]:
                    by_day[self._day_of(row)].append(row)
            for day, of_day in by_day.items():
                parts = []
                for place in range(0, len(of_day), _STEP_ROWS):
                    part = _encoder.encode(of_day[place : place + _STEP_ROWS])
                    if _SEPARATOR in part or _encoder.encode(self._decoder.decode(part)) != part:
                        return None
                    parts.append(part)
                    if (size_bytes := size_bytes + len(part)) > _STEP_BYTES:
                        size_bytes = 0
                        await asyncio.sleep(0)
                values[day] = _SEPARATOR.join(parts)
        except Exception:  # noqa: BLE001  an unknown day, or code of a caller's type that fails
            return None
        return values

    async def decode(self, days: Sequence[bytes]) -> list[T] | None:
        """Decode the rows of some days, in order; return None if a value cannot be decoded."""
        rows: list[T] = LargeList() if sum(map(len, days)) > LARGE_BYTES else []
        size_bytes = 0
        try:
            for day in days:
                for part in day.split(_SEPARATOR) if day else ():
                    rows += self._decoder.decode(part)
                    if (size_bytes := size_bytes + len(part)) > _STEP_BYTES:
                        size_bytes = 0
                        await asyncio.sleep(0)
        except UNREADABLE:
            return None
        return rows

    async def is_of_day(self, data: bytes, day: date) -> bool:
        """Return whether a value can be decoded, and all of its rows are of a day."""
        rows = await self.decode([data])
        return rows is not None and all(self._day_of(row) == day for row in rows)


def codec_for(item_type: type[T]) -> Codec[T] | None:
    """Return the codec of an item type; None if its rows have no day.

    The rows have a day if the type has a field `date` of type `date` or `date | None`, without a
    default other than None.
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
    not_none = kinds_of(field.type) - {inspect.NoneType}
    if not_none != {inspect.DateType} or field.default not in {msgspec.NODEFAULT, None}:
        return None
    getter = itemgetter if isinstance(info, inspect.TypedDictType) else attrgetter
    return Codec(item_type, getter("date"))
