"""Comparison of answers with their queries: echoed URLs, accounts and days of rows."""

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from spot_billing_async import CostItem
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.comparison import RowAccounts, RowDates, compare
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.pagination import Differences
from spot_billing_async._core.protocol.request import Request, build_request
from spot_billing_async._core.protocol.response import (
    Response,
    parse_large_response,
    parse_response,
)

ASKED = {"accountId": "act-1", "fromDate": "2025-01-10", "toDate": "2025-01-20", "groupBy": None}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)


class WithoutAccount(msgspec.Struct):
    """Row of a caller's type that leaves out the account and the day."""

    cost: Decimal


class Mixed(TypedDict):
    """Row of a caller's type that is a mapping."""

    cost: Decimal
    date: str


class Pair(NamedTuple):
    """Row of a caller's type whose day is text."""

    accountId: str  # noqa: N815  the API's name
    date: str
    cost: Decimal


def request_for(parameters: Mapping[str, str | None] = ASKED) -> Request:
    """Return the request of a cost query."""
    return build_request(GET_COSTS, "https://x.example", "/p", path_ids={}, query=parameters)


def envelope(rows: list[dict[str, Any]], url: object = None) -> bytes:
    """Return a body with rows, and with an echoed URL if there is one."""
    request = {} if url is None else {"request": {"id": "r", "url": url}}
    return msgspec.json.encode({**request, "response": {"items": rows}})


def found(
    rows: list[dict[str, Any]],
    url: object = None,
    *,
    request: Request | None = None,
    item_type: Any = CostItem,
    check_echo: bool = True,
    row_dates: RowDates = "day",
    row_accounts: RowAccounts = "asked",
) -> Differences:
    """Return what is found in an answer."""
    decoder = decoder_for(item_type)
    response = Response(200, CIMultiDict(), envelope(rows, url))
    return compare(
        request or request_for(),
        parse_response(GET_COSTS, response, decoder, Secret("t")),
        decoder,
        check_echo=check_echo,
        row_dates=row_dates,
        row_accounts=row_accounts,
    )


def row(**fields: object) -> dict[str, Any]:
    """Return a row that names what is given."""
    return {"cost": 1, **fields}


def test_an_equal_url_settles_everything() -> None:
    """Rows are not looked at where the server echoes the whole query."""
    url = f"/a/path/of/a/gateway?{request_for().query}"
    assert found([row(accountId="other", date="1999-01-01")], url) == {"url": frozenset()}


def test_a_path_and_further_parameters_are_no_difference() -> None:
    """Gateways may rewrite the path, the order and the encoding, and add parameters."""
    url = "https://other.example/x?toDate=2025%2D01-20&accountId=act-1&v=2&fromDate=2025-01-10#f"
    assert found([], url) == {"url": frozenset()}


@pytest.mark.parametrize(
    ("echoed", "said"),
    [
        ("accountId=act-2&fromDate=2025-01-10&toDate=2025-01-20", {"accountId=act-2"}),
        ("fromDate=2025-01-11&accountId=act-1", {"fromDate=2025-01-11"}),
        ("accountId=", {"accountId="}),
        ("accountId=act-1&accountId=act-2", {"accountId=act-2"}),
    ],
)
def test_another_value_is_a_difference(echoed: str, said: set[str]) -> None:
    """A parameter that both sides have must have the value that was sent."""
    assert found([], f"/billingEngine/cost?{echoed}")["url"] == said


def test_the_echo_can_be_left_out_of_account() -> None:
    """With `check_echo=False` the rows are looked at, and the URL is not."""
    url = "/x?accountId=act-2"
    assert found([row(accountId="act-1")], url, check_echo=False) == {"account": frozenset()}


def test_what_the_url_leaves_open_is_looked_for_in_the_rows() -> None:
    """A URL with the account alone leaves the days to the rows, and the other way round."""
    rows = [row(accountId="act-2", date="2025-02-01")]
    days = {"date": frozenset({"2025-02-01"}), "url": frozenset()}
    assert found(rows, "/x?accountId=act-1") == days
    accounts = {"account": frozenset({"act-2"}), "url": frozenset()}
    assert found(rows, "/x?fromDate=2025-01-10&toDate=2025-01-20") == accounts


@pytest.mark.parametrize("url", ["/x", "", "?", 5, None, "http://[", "/x?" + "a=b&" * 20_000])
def test_a_url_without_usable_parameters_says_nothing(url: object) -> None:
    """The rows decide where the URL names none of the parameters, or is no text."""
    assert found([row(accountId="act-1")], url) == {"account": frozenset()}


@pytest.mark.parametrize(
    ("accounts", "differs"),
    [
        (["act-1", "act-1", None], set()),
        (["ACT-1"], set()),
        (["act-2"], {"act-2"}),
        (["act-1", "act-2"], {"act-1", "act-2"}),
        ([7, "act-1"], {"7", "act-1"}),
    ],
)
@pytest.mark.parametrize("item_type", [CostItem, WithoutAccount, dict[str, Any]])
def test_ids_of_rows_are_compared(
    accounts: list[str | int | None], differs: set[str], item_type: Any
) -> None:
    """Every id must be the account's, up to case, also where the item type leaves the id out."""
    rows = [row(accountId=account) for account in accounts]
    assert found(rows, item_type=item_type) == {"account": differs}


@pytest.mark.parametrize(
    ("row_dates", "days", "differs"),
    [
        ("day", ["2025-01-10", "2025-01-20"], set()),
        ("day", ["2025-01-09", "2025-01-12"], {"2025-01-09", "2025-01-12"}),
        ("day", ["2025-01-21T00:00:00Z"], {"2025-01-21"}),
        ("day", ["2025-01-20T23:59:59Z"], set()),
        ("month", ["2025-01-01", "2025-01-31"], set()),
        ("month", ["2025-02-01"], {"2025-02-01"}),
    ],
)
@pytest.mark.parametrize("item_type", [CostItem, WithoutAccount, Mixed])
def test_days_of_rows_are_compared(
    row_dates: RowDates, days: list[str], differs: set[str], item_type: Any
) -> None:
    """Days must lie in the range that was asked for, or in its months."""
    rows = [row(date=day) for day in days]
    assert found(rows, row_dates=row_dates, item_type=item_type) == {"date": differs}


def test_rows_of_any_type_can_be_looked_at() -> None:
    """Rows that are arrays, or values that are no ids and days, say nothing and raise nothing."""
    odd = [row(accountId={"a": 1}, date=[]), row(accountId=True, date="soon"), row(date=20_250_101)]
    assert found(odd, item_type=dict[str, Any]) == {}
    assert found([], item_type=Pair) == {}


def test_ids_and_days_need_not_be_compared() -> None:
    """`row_accounts` and `row_dates` switch the comparison of rows off."""
    rows = [row(accountId="other", date="1999-01-01")]
    assert found(rows, row_accounts="any", row_dates="any") == {}


def test_open_ranges_are_compared_at_their_end() -> None:
    """A query without a last day allows any day after the first."""
    query = request_for({"fromDate": "2025-01-10"})
    assert found([row(date="2031-01-01")], request=query) == {"date": frozenset()}
    assert found([row(date="2025-01-09")], request=query)["date"] == {"2025-01-09"}


def test_a_request_without_parameters_is_compared_by_the_page_key_alone() -> None:
    """No answer contradicts a request without parameters, except a later page of another."""
    assert found([row(accountId="x")], "/x?accountId=y", request=request_for({})) == {}
    later = found([], "/x?paginationKey=7", request=request_for({}))
    assert later == {"url": frozenset({"paginationKey=7"})}


async def test_every_part_of_a_large_body_is_compared() -> None:
    """A row in the middle of a large body that names another account is found."""
    rows = [row(accountId="act-1", date="2025-01-12") for _ in range(9_000)]
    rows[5_000] = row(accountId="act-2", date="2025-01-25")
    body = envelope(rows)
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    decoder = decoder_for(CostItem)
    response = Response(200, CIMultiDict(), pieces[0], pieces=pieces)
    page = await parse_large_response(GET_COSTS, response, decoder, Secret("t"))
    assert compare(
        request_for(), page, decoder, check_echo=True, row_dates="day", row_accounts="asked"
    ) == {
        "account": frozenset({"act-1", "act-2"}),
        "date": frozenset({"2025-01-12", "2025-01-25"}),
    }


@given(
    parameters=st.fixed_dictionaries(
        {},
        optional={
            "accountId": TEXT,
            "groupBy": TEXT,
            "fromDate": st.dates().map(date.isoformat),
            "toDate": st.dates().map(date.isoformat),
        },
    ).filter(bool),
    others=st.dictionaries(st.sampled_from([*ASKED, "v", "page"]), TEXT),
    spaces_as_plus=st.booleans(),
)
def test_urls_differ_where_a_common_parameter_does(
    parameters: dict[str, str], others: dict[str, str], spaces_as_plus: bool
) -> None:
    """The URL agrees if and only if each parameter that both sides have has the same value."""
    encode = urlencode(others) if spaces_as_plus else urlencode(others, quote_via=quote, safe="")
    result = found([], f"/x?{encode}", request=request_for(parameters))
    common = parameters.keys() & others.keys()
    expected = {f"{name}={others[name]}" for name in common if others[name] != parameters[name]}
    assert result == ({"url": expected} if common else {})


@given(
    first=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    length=st.integers(0, 400),
    offsets=st.lists(st.integers(-500, 900), min_size=1, max_size=8),
)
def test_a_day_outside_of_the_range_is_always_found(
    first: date, length: int, offsets: list[int]
) -> None:
    """Days agree if and only if the first and the last of them lie in the range."""
    last = first + timedelta(days=length)
    days = [first + timedelta(days=offset) for offset in offsets]
    query = request_for({"fromDate": first.isoformat(), "toDate": last.isoformat()})
    result = found([row(date=day.isoformat()) for day in days], request=query)
    within = all(first <= day <= last for day in days)
    ends = frozenset({min(days).isoformat(), max(days).isoformat()})
    assert result == {"date": frozenset() if within else ends}
