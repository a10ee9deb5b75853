"""Rows become bytes and rows again, exactly or not at all."""

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
    """A caller's own row, which anyone can change."""

    date: "date"
    cost: Decimal
    extra: Any = None


class Typed(TypedDict):
    """A row as a dict."""

    date: "date"
    cost: Decimal


@dataclass
class Doubled:
    """A row that is another one after each reading."""

    date: "date"
    cost: Decimal

    def __post_init__(self) -> None:
        self.cost *= 2


def codec_of(item_type: type[Any]) -> Codec[Any]:
    codec = codec_for(item_type)
    assert codec is not None
    return codec


async def round_trip(codec: Codec[Any], rows: list[Any]) -> list[Any]:
    by_day = await codec.by_day(rows, DAYS)
    assert by_day is not None
    assert list(by_day) == DAYS
    read = await codec.rows_of(list(by_day.values()))
    assert read is not None
    return read


def written(amount: object) -> object:
    """An amount with what its value does not say: a zero's sign, exponent, zeros at its end."""
    return amount.as_tuple() if isinstance(amount, Decimal) else amount


@given(st.lists(items, max_size=30))
async def test_rows_come_back_as_they_were(rows: list[CostItem]) -> None:
    """Every field, and each digit and exponent; by day, in their order within a day."""
    read = await round_trip(codec_of(CostItem), rows)
    assert read == sorted(rows, key=lambda row: row.date or date.max)
    assert [written(row.cost) for row in read] == [
        written(row.cost) for day in DAYS for row in rows if row.date == day
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    )
)
async def test_rows_of_a_callers_own_come_back(extra: Any) -> None:
    """Whatever JSON stands in a field without a type."""
    rows = [Own(date=DAYS[1], cost=Decimal("1.10"), extra=extra)]
    assert await round_trip(codec_of(Own), rows) == rows


async def test_untyped_numbers_stay_exact() -> None:
    """A number in a field without a type is the Decimal that the answer's reader makes of it."""
    rows = [Own(date=DAYS[0], cost=Decimal(1), extra=[Decimal("0.10"), Decimal("1E-30")])]
    read = await round_trip(codec_of(Own), rows)
    assert [written(number) for number in read[0].extra] == list(map(written, rows[0].extra))


async def test_dicts_come_back() -> None:
    """A TypedDict says its day too."""
    rows: list[Typed] = [{"date": DAYS[2], "cost": Decimal("-0.00")}]
    assert await round_trip(codec_of(Typed), rows) == rows


async def test_many_rows_come_back() -> None:
    """Rows of a day are written in parts, and read as one day again."""
    rows = [CostItem(date=DAYS[n % 2], cost=Decimal(n), service="s\n") for n in range(5000)]
    read = await round_trip(codec_of(CostItem), rows)
    assert read == rows[::2] + rows[1::2]


@pytest.mark.parametrize("day", [None, date(2023, 12, 31), date(2024, 1, 4)])
async def test_rows_of_no_day_that_was_asked_for_are_not_kept(day: date | None) -> None:
    """They cannot be told apart by day."""
    rows = [CostItem(date=DAYS[0], cost=Decimal(1)), CostItem(date=day, cost=Decimal(1))]
    assert await codec_of(CostItem).by_day(rows, DAYS) is None


async def test_rows_that_change_as_they_are_read_are_not_kept() -> None:
    """What comes back as another row would be another amount."""
    rows = [Doubled(DAYS[0], Decimal(1))]
    assert await codec_of(Doubled).by_day(rows, DAYS) is None


async def test_numbers_that_json_has_not_are_not_kept() -> None:
    """Such as a NaN in a field of the caller's own."""
    rows = [Own(date=DAYS[0], cost=Decimal(1), extra=Decimal("NaN"))]
    assert await codec_of(Own).by_day(rows, DAYS) is None


@pytest.mark.parametrize("data", [b"[", b"[1]", b"\xff", b'[{"date":"2024-01-01"}]x', b"\n"])
async def test_what_is_no_rows_is_not_read(data: bytes) -> None:
    """Somebody else may have written it: it is told, and does not raise."""
    assert await codec_of(CostItem).rows_of([b"", data]) is None


class Undated(msgspec.Struct):
    """A row without a day."""

    cost: Decimal


class Defaulted(msgspec.Struct):
    """A row that may be of a day that nobody sent."""

    date: "date" = date(2024, 1, 1)


class Texted(msgspec.Struct):
    """A row whose day is text."""

    date: str


@pytest.mark.parametrize("item_type", [Undated, Defaulted, Texted, dict, Any, msgspec.Raw])
def test_a_type_without_a_day_has_no_codec(item_type: Any) -> None:
    """Its rows cannot be put to their days."""
    assert codec_for(item_type) is None


@pytest.mark.parametrize("item_type", [int | type, [], "CostItem"])
def test_a_type_that_cannot_be_decoded_is_refused(item_type: Any) -> None:
    """As it is without a cache."""
    with pytest.raises(ConfigError, match="item_type"):
        codec_for(item_type)


def test_types_are_told_apart() -> None:
    """By name and fields; one that others cannot import is like no other, even of its name."""

    def local(*names: str) -> Any:
        fields = [("date", date), *((name, Decimal) for name in names)]
        return msgspec.defstruct("test_types.<locals>.Row", fields)

    names = [codec_of(each).name for each in (CostItem, Own, Typed, local("a"), local("a"))]
    assert len(set(names)) == len(names)
    assert codec_of(CostItem).name == codec_of(CostItem).name
    annotated: Any = Annotated[CostItem, msgspec.Meta(title="t")]
    assert codec_for(annotated) is None
