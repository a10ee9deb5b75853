"""Exact encoding of rows as bytes, and their decoding."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ConfigError, CostItem
from spot_billing_async.cache.codec import Codec, codec_for

DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(3)]

texts = st.none() | st.text(max_size=20)
amounts = st.decimals(allow_nan=False, allow_infinity=False) | st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**30), 10**30),
    st.integers(-40, 40),
)
items = st.builds(
    CostItem,
    account_id=texts,
    service=texts,
    region=texts,
    family=texts,
    date=st.sampled_from(DAYS),
    cost=amounts,
    currency=texts,
)


class Own(msgspec.Struct, kw_only=True, rename="camel"):
    """Mutable row type of a caller."""

    date: "date"
    cost: Decimal
    extra: Any = None


class Typed(TypedDict):
    """Row that is a dict."""

    date: "date"
    cost: Decimal


@dataclass
class Doubled:
    """Row whose cost doubles each time it is decoded."""

    date: "date"
    cost: Decimal

    def __post_init__(self) -> None:
        self.cost *= 2


def codec_of(item_type: type[Any]) -> Codec[Any]:
    codec = codec_for(item_type)
    assert codec is not None
    return codec


async def round_trip(codec: Codec[Any], rows: list[Any]) -> list[Any]:
    by_day = await codec.encode_by_day(rows, DAYS)
    assert by_day is not None
    assert list(by_day) == DAYS
    read = await codec.decode(list(by_day.values()))
    assert read is not None
    return read


def digits(amount: object) -> object:
    """Return a Decimal as its sign, digits and exponent, which equality does not compare."""
    return amount.as_tuple() if isinstance(amount, Decimal) else amount


@given(st.lists(items, max_size=30))
async def test_rows_come_back_as_they_were(rows: list[CostItem]) -> None:
    """The round trip keeps every field, digit and exponent, and the order within a day."""
    read = await round_trip(codec_of(CostItem), rows)
    assert read == sorted(rows, key=lambda row: row.date or date.max)
    assert [digits(row.cost) for row in read] == [
        digits(row.cost) for day in DAYS for row in rows if row.date == day
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    )
)
async def test_rows_of_a_callers_own_come_back(extra: Any) -> None:
    """A field without a type may hold any JSON value."""
    rows = [Own(date=DAYS[1], cost=Decimal("1.10"), extra=extra)]
    assert await round_trip(codec_of(Own), rows) == rows


async def test_untyped_numbers_stay_exact() -> None:
    """A number in a field without a type is the same Decimal as in the response."""
    rows = [Own(date=DAYS[0], cost=Decimal(1), extra=[Decimal("0.10"), Decimal("1E-30")])]
    read = await round_trip(codec_of(Own), rows)
    assert [digits(number) for number in read[0].extra] == list(map(digits, rows[0].extra))


async def test_dicts_come_back() -> None:
    """Rows that are dicts are kept by day too."""
    rows: list[Typed] = [{"date": DAYS[2], "cost": Decimal("-0.00")}]
    assert await round_trip(codec_of(Typed), rows) == rows


async def test_many_rows_come_back() -> None:
    """Many rows of a day are encoded in parts and decoded as one day."""
    rows = [CostItem(date=DAYS[n % 2], cost=Decimal(n), service="s\n") for n in range(5000)]
    read = await round_trip(codec_of(CostItem), rows)
    assert read == rows[::2] + rows[1::2]


async def turns_during(work: Awaitable[object]) -> int:
    """Return how often another task ran during some work."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await work
    counting.cancel()
    return turns


async def test_other_tasks_run_while_many_rows_are_coded() -> None:
    """Encoding and decoding of a day give way to other tasks every 200 rows or 64 KB."""
    codec, text = codec_of(CostItem), "s" * 300
    rows = [CostItem(date=DAYS[0], cost=Decimal(n), service=text) for n in range(4000)]
    by_day = await codec.encode_by_day(rows, DAYS)
    assert by_day is not None
    steps = len(by_day[DAYS[0]]) // (64 * 1024 + 200 * 400)
    assert steps > 8
    assert await turns_during(codec.encode_by_day(rows, DAYS)) >= 4000 // 200 - 1 + steps
    assert steps <= await turns_during(codec.decode(list(by_day.values()))) <= 4 * steps
    few = [CostItem(date=DAYS[0], cost=Decimal(1))]
    assert await turns_during(codec.encode_by_day(few, DAYS)) == 0


@pytest.mark.parametrize("count", [0, 1, 199, 200, 201, 400, 401])
async def test_no_row_is_lost_between_parts(count: int) -> None:
    """Every row comes back, also where a part is just full."""
    rows = [CostItem(date=DAYS[0], cost=Decimal(n)) for n in range(count)]
    assert await round_trip(codec_of(CostItem), rows) == rows


@pytest.mark.parametrize("day", [None, date(2023, 12, 31), date(2024, 1, 4)])
async def test_rows_of_other_days_are_not_kept(day: date | None) -> None:
    """Rows without a day, or with one outside the window, cannot be kept by day."""
    rows = [CostItem(date=DAYS[0], cost=Decimal(1)), CostItem(date=day, cost=Decimal(1))]
    assert await codec_of(CostItem).encode_by_day(rows, DAYS) is None


async def test_rows_that_change_when_decoded_are_not_kept() -> None:
    """Rows that the round trip changes are not kept, because amounts would be wrong."""
    rows = [Doubled(DAYS[0], Decimal(1))]
    assert await codec_of(Doubled).encode_by_day(rows, DAYS) is None


async def test_numbers_without_a_json_form_are_not_kept() -> None:
    """Rows with a NaN in a field of the caller are not kept."""
    rows = [Own(date=DAYS[0], cost=Decimal(1), extra=Decimal("NaN"))]
    assert await codec_of(Own).encode_by_day(rows, DAYS) is None


@pytest.mark.parametrize("data", [b"[", b"[1]", b"\xff", b'[{"date":"2024-01-01"}]x', b"\n"])
async def test_foreign_data_is_not_decoded(data: bytes) -> None:
    """Data that this package did not write decodes to None and does not raise."""
    assert await codec_of(CostItem).decode([b"", data]) is None


class Undated(msgspec.Struct):
    """Row without a day."""

    cost: Decimal


class Defaulted(msgspec.Struct):
    """Row whose day has a default, so that it may not be in the response."""

    date: "date" = date(2024, 1, 1)


class Texted(msgspec.Struct):
    """Row whose day is text."""

    date: str


@pytest.mark.parametrize("item_type", [Undated, Defaulted, Texted, dict, Any, msgspec.Raw])
def test_a_type_without_a_day_has_no_codec(item_type: Any) -> None:
    """A type whose rows have no date field has no codec."""
    assert codec_for(item_type) is None


@pytest.mark.parametrize("item_type", [int | type, [], "CostItem"])
def test_a_type_that_cannot_be_decoded_is_refused(item_type: Any) -> None:
    """A type that msgspec cannot decode is an error, as without a cache."""
    with pytest.raises(ConfigError, match="item_type"):
        codec_for(item_type)


def test_codec_names_identify_types() -> None:
    """Names differ by type and fields, and each local type has a name of its own."""

    def local(*names: str) -> Any:
        fields = [("date", date), *((name, Decimal) for name in names)]
        return msgspec.defstruct("test_types.<locals>.Row", fields)

    names = [codec_of(each).name for each in (CostItem, Own, Typed, local("a"), local("a"))]
    assert len(set(names)) == len(names)
    assert codec_of(CostItem).name == codec_of(CostItem).name
    annotated: Any = Annotated[CostItem, msgspec.Meta(title="t")]
    assert codec_for(annotated) is None
