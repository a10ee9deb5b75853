"""Bodies whose rows or amounts a lenient parser would change: they are refused."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from spot_billing_async import BillingAccount, CostItem, DecodeError
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.operations import GET_COSTS
from spot_billing_async._core.protocol.response import (
    Response,
    parse_large_response,
    parse_response,
)

ROW = '{"accountId":"a","service":"EC2","date":"2018-10-01","cost":1.5,"currency":"USD"}'
KEYS = ["accountId", "service", "date", "cost", "currency"]


def parse(
    rows: list[str], *, totalled: bool = True, large: bool = False, rest: str = ""
) -> list[Any]:
    body = f'{{"response":{{"items":[{",".join(rows)}]{rest}}}}}'.encode()
    decoder = decoder_for(CostItem, totalled=totalled)
    if large:
        pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
        response = Response(200, CIMultiDict(), pieces[0], pieces=pieces)
        return asyncio.run(
            parse_large_response(GET_COSTS, response, decoder, Secret("t" * 9))
        ).items
    return parse_response(
        GET_COSTS, Response(200, CIMultiDict(), body), decoder, Secret("t" * 9)
    ).items


def with_twice(key: str) -> str:
    value = json.dumps(json.loads(ROW)[key])
    return f'{ROW[:-1]},"{key}":{value}}}'


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("count", [1, 10, 2000])
@pytest.mark.parametrize("key", KEYS)
def test_a_key_twice_in_the_first_row_is_refused(key: str, count: int, large: bool) -> None:
    """A server that gives any key of a row twice is found by its first row."""
    with pytest.raises(DecodeError, match=f"has the key '{key}' twice") as caught:
        parse([with_twice(key)] * count, large=large)
    assert caught.value.permanent


@given(st.integers(1, 40), st.data())
def test_a_second_cost_in_any_row_of_a_small_body_is_refused(
    count: int, data: st.DataObject
) -> None:
    """A second cost is found in each row of a body of up to 4 KB."""
    rows = [ROW] * count
    rows[data.draw(st.integers(0, count - 1))] = with_twice("cost")
    with pytest.raises(DecodeError, match="has the key 'cost' twice"):
        parse(rows, totalled=data.draw(st.booleans()))


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("count", [0, 1, 3, 2000])
@pytest.mark.parametrize("second", ["[]", "null", f"[{ROW}]", f"[{ROW},{ROW},{ROW}]"])
def test_two_lists_of_items_are_refused(second: str, count: int, large: bool) -> None:
    """A second list would replace the first: rows of a body of any size would be lost."""
    if second == "null" and count == 0:
        return
    with pytest.raises(DecodeError, match="has the key 'items' twice"):
        parse([ROW] * count, large=large, rest=f',"items":{second}')


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "row",
    [
        '{"cost":1,"service":"a \\"cost\\": of"}',
        '{"cost":1,"service":"cost","x":"items"}',
        '{"cost":1,"tags":{"cost":"2","items":[]},"more":["items","cost"]}',
        '{"cost":1,"tags":{"items":[]}, "items":["cost"]}',
        '{ "cost" : 1 ,\n "x" : "\\":" }',
        '{"x":"{\\":[","cost":"1.5E+3"}',
        '{"x_y":"\u00e4 \\u00e4","cost":"-1.5e-06"}',
        '{"cost":"+.5"}',
    ],
)
def test_texts_that_look_like_keys_are_no_error(row: str, large: bool) -> None:
    """A sign of a repeated key alone refuses nothing: each key is looked at then."""
    assert len(parse([row] * 9, large=large)) == 9


ODD = ["1_000", "\u0661", "\uff11", " 1", "1 ", "\\u00311", "1\\n", "\u00a01", "1,5", "1\\t"]


@pytest.mark.parametrize("totalled", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("odd", ODD)
def test_amounts_that_only_python_reads_are_refused(odd: str, large: bool, totalled: bool) -> None:
    """Underscores, blanks and digits of other scripts in an amount are an error."""
    rows = ['{"cost":"1.25"}'] * 900 + [f'{{"cost" : "{odd}"}}']
    with pytest.raises(DecodeError):
        parse(rows, large=large, totalled=totalled)
    with pytest.raises(DecodeError):
        parse(rows[-1:], totalled=totalled)


@pytest.mark.parametrize("odd", ["1_000", "\u0661", "\\u0661"])
def test_an_odd_amount_after_numbers_is_refused_in_a_small_body(odd: str) -> None:
    """A body of up to 4 KB may mix numbers and texts: its texts are looked at all the same."""
    with pytest.raises(DecodeError, match="characters that no number has"):
        parse([ROW, f'{{"cost":"{odd}"}}'])


@pytest.mark.parametrize("totalled", [False, True])
@pytest.mark.parametrize("amount", ["1e999999999", "-1e999999999", "1e-999999999", "1e1001"])
def test_amounts_beyond_the_exact_range_are_refused(amount: str, totalled: bool) -> None:
    """An amount that no exact sum can hold is an error in a single call as in a pull."""
    for text in (amount, f'"{amount}"'):
        with pytest.raises(DecodeError, match="finite number"):
            parse([ROW, f'{{"cost":{text}}}'], totalled=totalled)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=9), max_size=30))
def test_every_usual_amount_is_accepted(amounts: list[Decimal]) -> None:
    """Amounts arrive exactly as they were sent, as numbers and as texts."""
    for pattern in ('{{"cost":{}}}', '{{"cost":"{}"}}'):
        items = parse([pattern.format(amount) for amount in amounts], totalled=False)
        assert [item.cost for item in items] == amounts


def test_keys_of_other_lists_are_looked_at_too() -> None:
    """An account whose id comes twice is refused."""
    body = b'{"response":{"items":[{"accountId":"a","accountId":"b"}]}}'
    with pytest.raises(DecodeError, match="has the key 'accountId' twice"):
        parse_response(
            GET_COSTS,
            Response(200, CIMultiDict(), body),
            decoder_for(BillingAccount),
            Secret("t" * 9),
        )


def test_rows_after_a_long_head_are_totalled() -> None:
    """A list that begins after 64 KB of a large body is decoded at once, and its amounts count."""
    body = b'{"request":{"x":"%b"},"response":{"items":[{"cost":2,"currency":"USD"}]}}' % (
        b"x" * 600_000
    )
    response = Response(200, CIMultiDict(), body, pieces=[body])
    decoder = decoder_for(CostItem, totalled=True)
    page = asyncio.run(parse_large_response(GET_COSTS, response, decoder, Secret("t" * 9)))
    assert page.totals == {"USD": 2}
