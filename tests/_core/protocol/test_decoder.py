"""Decoding of items, and the check of their amounts."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import BillingAccount, ConfigError, CostItem, DecodeError
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import add_totals, decoder_for


def envelope(*items: str) -> bytes:
    """Return the body of a response with these items."""
    return f'{{"response":{{"items":[{",".join(items)}]}}}}'.encode()


def items_of(item_type: type[Any], *items: str) -> list[Any]:
    """Decode items without a check of their amounts."""
    response = decoder_for(item_type).decode("op", envelope(*items), Secret("a-token")).response
    assert response is not None
    assert isinstance(response.items, list)
    return response.items


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_amounts_are_the_decimals_of_the_text(amount: Decimal) -> None:
    """A number or a string becomes the Decimal that its digits say, never by way of a float."""
    text = str(amount).lower()
    number, string = items_of(CostItem, f'{{"cost":{text}}}', f'{{"cost":"{text}"}}')
    assert number.cost == string.cost == amount


def test_ids_may_be_integers() -> None:
    """A JSON integer is decoded to the same id as text; the other rows are unchanged."""
    items = items_of(
        CostItem, '{"accountId":500123,"cost":0.10}', '{"accountId":"011254002932","cost":1}'
    )
    assert [item.account_id for item in items] == ["500123", "011254002932"]
    assert [str(item.cost) for item in items] == ["0.10", "1"]
    assert items_of(BillingAccount, '{"accountId":1,"billingAccountId":2}') == [
        BillingAccount(account_id="1", billing_account_id="2")
    ]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2018-10-01", date(2018, 10, 1)),
        ("2018-10-01T00:00:00Z", date(2018, 10, 1)),
        ("2018-10-01T00:00:00.000", date(2018, 10, 1)),
        ("2018-10-01T23:00:00-05:00", date(2018, 10, 2)),
        ("2018-10-01T23:59:59.9999999999Z", date(2018, 10, 1)),
    ],
)
def test_a_date_time_stands_for_its_utc_day(text: str, day: date) -> None:
    """A day may be a date or a date-time, whose time zone is applied."""
    (item,) = items_of(CostItem, f'{{"date":"{text}","cost":1}}')
    assert item.date == day
    assert not isinstance(item.date, datetime)


def test_unknown_fields_and_values_never_fail() -> None:
    """A new field, or a new value of a known field, does not fail a call."""
    (item,) = items_of(CostItem, '{"cloudProvider":"ORACLE","cost":1,"news":{"a":[1]}}')
    assert item.cloud_provider == "ORACLE"


@pytest.mark.parametrize("status", ['"ACTIVE"', '[{"code":1}]', '{"code":1}', "null", "7", "true"])
def test_an_accounts_status_is_any_json(status: str) -> None:
    """A status is a string in the contract, an array or null in the vendor's specification."""
    (account,) = items_of(BillingAccount, f'{{"accountId":"a","status":{status}}}')
    assert account.status == msgspec.json.decode(status)


@pytest.mark.parametrize("item", ['{"cost":"abc"}', '{"cost":true}', '{"cost":[]}', "7", "null"])
def test_an_amount_of_another_type_is_an_error(item: str) -> None:
    """The lenient pass never changes an amount."""
    with pytest.raises(DecodeError):
        items_of(CostItem, item)


@pytest.mark.parametrize("item", ['{"amount":1,"day":"x"}', '{"cost":null}', '{"cost":"NaN"}'])
def test_an_item_without_an_amount_is_an_error(item: str) -> None:
    """A row whose amount is missing, null or NaN is an error that lists the keys seen."""
    body = envelope('{"cost":1}', item)
    decoder = decoder_for(CostItem)
    response = decoder.decode("op", body, Secret("a-token")).response
    assert response is not None
    assert isinstance(response.items, list)
    keys = "amount, cost, day" if "amount" in item else "cost"
    with pytest.raises(DecodeError, match=f"keys seen: {keys}$"):
        decoder.totals("op", response.items, body, Secret("cost-token"))


@pytest.mark.parametrize(
    ("body", "permanent"),
    [
        (b'{"response":{"items":[', False),
        (b"\xff", False),
        (envelope('{"cost":1,"accountId":7,"news":1e9999999999999999999}'), False),
        (envelope('{"cost":"abc"}'), True),
        (b'{"response":7}', True),
    ],
    ids=["cut off", "no text", "out of range", "amount", "shape"],
)
def test_only_valid_json_of_another_shape_is_permanent(body: bytes, permanent: bool) -> None:
    """A body that may have been damaged is worth a retry; one of another shape is not."""
    with pytest.raises(DecodeError) as caught:
        decoder_for(CostItem).decode("op", body, Secret("a-token"))
    assert caught.value.permanent is permanent
    assert str(caught.value).startswith("op: ")


def test_an_error_about_amounts_is_permanent() -> None:
    """A missing amount and a sum that would be rounded are the same in the next response."""
    with pytest.raises(DecodeError, match="keys seen: cost") as caught:
        decoder_for(CostItem).totals(
            "op", items_of(CostItem, '{"cost":null}'), envelope('{"cost":null}'), Secret("t-oken")
        )
    assert caught.value.permanent
    assert add_totals("op", {"USD": Decimal(1)}, {"EUR": Decimal(2), "USD": Decimal(3)}) == {
        "USD": 4,
        "EUR": 2,
    }
    with pytest.raises(DecodeError, match=r"op: .* without rounding") as rounded:
        add_totals("op", {"USD": Decimal("1e150")}, {"USD": Decimal("1e-150")})
    assert rounded.value.permanent


@pytest.mark.parametrize(("count", "shown"), [(19, 19), (20, 20), (40, 20)])
def test_the_keys_of_an_error_are_bounded(count: int, shown: int) -> None:
    """An error lists the first twenty keys of the items in order."""
    keys = [f"k{n:02}" for n in range(count)]
    body = envelope(*(f'{{"{key}":1}}' for key in reversed(keys)))
    items = decoder_for(CostItem).decode("op", body, Secret("a-token")).response
    assert items is not None
    assert isinstance(items.items, list)
    with pytest.raises(DecodeError) as caught:
        decoder_for(CostItem).totals("op", items.items, body, Secret("a-token"))
    assert str(caught.value).endswith(f"keys seen: {', '.join(keys[:shown])}")


@pytest.mark.parametrize(
    ("request_part", "request_id"),
    [
        ('{"id":"r"}', "r"),
        ('{"id":7}', 7),
        ('{"id":true}', None),
        ('{"id":[1]}', None),
        ("7", None),
    ],
)
def test_a_request_of_another_shape_is_reduced_to_its_id(
    request_part: str, request_id: object
) -> None:
    """An id is text or a number; anything else in its place counts as no id."""
    body = b'{"request":%s,"response":{"items":[{"cost":1,"accountId":7}]}}' % request_part.encode()
    request = decoder_for(CostItem).decode("op", body, Secret("a-token")).request
    assert (None if request is None else request.id) == request_id


class Loose(msgspec.Struct, rename="camel"):
    """Item type of a caller that accepts several types."""

    account_id: int | str
    other_id: str | None = None
    moment: datetime | None = None


def test_a_type_that_accepts_a_value_gets_it_unchanged() -> None:
    """Integers and date-times are converted only for fields that accept no other form of them."""
    (item,) = items_of(
        Loose,
        '{"accountId":7,"otherId":8,"moment":"2024-01-01T23:00:00-02:00"}',
    )
    assert (item.account_id, item.other_id) == (7, "8")
    assert item.moment == datetime.fromisoformat("2024-01-01T23:00:00-02:00")


class Row(msgspec.Struct):
    """Item type of a caller, with a float cost."""

    service: str
    cost: float


def test_a_callers_type_is_decoded_as_declared() -> None:
    """Any type that msgspec decodes is allowed; one without `cost: Decimal` has no totals."""
    (row,) = items_of(Row, '{"service":"S3","cost":0.5}')
    assert row == Row("S3", 0.5)
    assert decoder_for(Row).totals("op", [row], b"", Secret("t")) == {}
    assert items_of(dict[str, Any], '{"cost":0.10}') == [{"cost": Decimal("0.10")}]
    with pytest.raises(DecodeError):
        items_of(Row, '{"cost":1}')


@dataclass
class Bill:
    """Dataclass of a caller."""

    cost: Decimal | None = None
    currency: str | None = None


class Line(TypedDict, total=False):
    """TypedDict of a caller."""

    cost: Decimal
    currency: Literal["USD"]


class Amount(msgspec.Struct):
    """Struct of a caller with an annotated amount, and no currency."""

    cost: Annotated[Decimal, msgspec.Meta(description="what it costs")] | None = None


@pytest.mark.parametrize("item_type", [Bill, Line, Amount])
def test_amounts_of_every_kind_of_type_are_checked(item_type: type[Any]) -> None:
    """A row without an amount is an error for every kind of item type."""
    decoder = decoder_for(item_type, totalled=True)
    good = '{"cost":0.10,"currency":"USD"}'
    totals = decoder.totals("op", items_of(item_type, good, good), b"", Secret("t"))
    assert totals == ({} if item_type is Amount else {"USD": Decimal("0.20")})
    for bad in ("{}", '{"cost":"NaN"}'):
        items = items_of(item_type, good, bad)
        with pytest.raises(DecodeError, match="keys seen"):
            decoder.totals("op", items, envelope(good, bad), Secret("t"))


@pytest.mark.parametrize(
    "item_type", [Annotated[CostItem, msgspec.Meta(description="a row")], CostItem | None]
)
def test_annotations_and_none_around_a_type_hide_nothing(item_type: Any) -> None:
    """Amounts are checked, and ids repaired, as for the type itself."""
    good, bad = '{"cost":0.10,"currency":"USD","accountId":7}', '{"accountId":"7"}'
    decoder = decoder_for(item_type, totalled=True)
    items = items_of(item_type, good)
    assert items[0].account_id == "7"
    assert decoder.totals("op", items, b"", Secret("t")) == {"USD": Decimal("0.10")}
    with pytest.raises(DecodeError, match="keys seen: accountId"):
        decoder.totals("op", items_of(item_type, bad), envelope(bad), Secret("t"))


def test_a_union_of_types_with_amounts_is_refused() -> None:
    """A union of types with amounts is refused, as they could not be checked."""
    first = msgspec.defstruct("First", [("cost", Decimal)], tag=True)
    second = msgspec.defstruct("Second", [("cost", Decimal)], tag=True)
    with pytest.raises(ConfigError, match="union of types with a cost"):
        decoder_for(first | second)  # type: ignore[arg-type]  # what is tested


def test_an_echoed_token_stays_out_of_a_callers_types_errors() -> None:
    """The decoder quotes values that a type does not allow; the token is removed from them."""
    strict = msgspec.defstruct("Strict", [("cost", Decimal), ("currency", Literal["USD"])])
    body = envelope('{"cost":1,"currency":"a-secret-token"}')
    with pytest.raises(DecodeError) as caught:
        decoder_for(strict).decode("op", body, Secret("a-secret-token"))
    assert "a-secret-token" not in str(caught.value)


def test_a_type_with_a_default_amount_is_refused() -> None:
    """A default cost would pass for a real one; a currency must be text to total by it."""
    default = msgspec.defstruct("Default", [("cost", Decimal, Decimal(0))])
    with pytest.raises(ConfigError, match="cost no default"):
        decoder_for(default)
    field = msgspec.field(default_factory=Decimal)
    made = msgspec.defstruct("Made", [("cost", Decimal, field)])
    with pytest.raises(ConfigError, match="cost no default"):
        decoder_for(made)
    number = msgspec.defstruct("Number", [("cost", Decimal), ("currency", int)])
    with pytest.raises(ConfigError, match="currency as str"):
        decoder_for(number)


@pytest.mark.parametrize(
    "item",
    [
        '{"cost":1,"date":"9999-12-31T23:00:00-05:00"}',
        '{"cost":1,"date":"0001-01-01T00:00:00+05:00"}',
        '{"cost":1,"accountId":7,"news":1e9999999999999999999}',
    ],
)
def test_values_out_of_range_are_decode_errors(item: str) -> None:
    """Days outside the calendar and numbers outside any exponent are decode errors."""
    with pytest.raises(DecodeError):
        items_of(CostItem, item)


@pytest.mark.parametrize("item_type", [int | type, [], {}, "CostItem"])
def test_a_type_that_cannot_be_decoded_is_refused(item_type: Any) -> None:
    """A type that msgspec cannot decode raises ConfigError before anything is sent."""
    with pytest.raises(ConfigError, match="item_type"):
        decoder_for(item_type)


@pytest.mark.parametrize("row", ['{"accountId":7,"amount":1}', '{"accountId":"7","cost":null}'])
def test_a_missing_amount_is_decoded_as_nan(row: str) -> None:
    """`decode` leaves a missing amount to `totals`, which names the keys seen."""
    (item,) = items_of(CostItem, row)
    assert item.account_id == "7"
    assert item.cost.is_nan()
