"""Random responses: each becomes a page or an error of this package, and nothing else."""

import json
import pickle
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from spot_billing_async import AccountFamily, ApiError, BillingAccount, CostItem, SpotBillingError
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.protocol.decoder import decoder_for
from spot_billing_async._core.protocol.error_mapping import read_error
from spot_billing_async._core.protocol.operations import GET_COSTS, LIST_ACCOUNTS, SETUP
from spot_billing_async._core.protocol.pagination import Paginator
from spot_billing_async._core.protocol.rate_limit import read_quota
from spot_billing_async._core.protocol.response import Response, parse_response

TOKEN = "not-a-real-token"
SECRET = Secret(TOKEN)


class Row(msgspec.Struct):
    """A caller's own item type."""

    accountId: str  # noqa: N815  the key in JSON
    cost: Decimal
    currency: str | None = None
    tags: dict[str, int] = {}


ITEM_TYPES: list[Any] = [CostItem, BillingAccount, AccountFamily, Any, dict, Row, int]

DIGITS = st.sampled_from(["1", "400", "500", "9" * 19, "9" * 400, "9" * 5000])
NUMBERS = st.one_of(
    DIGITS,
    DIGITS.map(lambda digits: f"-{digits}"),
    st.integers().map(str),
    st.sampled_from(
        ["1e999999", "-1e-999999", "1e99999999999999999999", "0.0", "-0", "NaN", "Infinity", "01"]
    ),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
)
TEXTS = st.one_of(
    st.text(max_size=8).map(json.dumps),
    NUMBERS.map(lambda number: f'"{number}"'),
    st.sampled_from(
        [
            '"\\ud800"',
            '"\\u0000"',
            '"2018-10-01"',
            '"2018-10-01T23:00:00-05:00"',
            '"9999-12-31T23:59:59-23:59"',
            '"Throttling"',
            '"sNaN"',
            '"inf"',
            f'"{TOKEN}"',
        ]
    ),
)
KEYS = st.sampled_from(
    [
        *("request", "response", "id", "items", "count", "status", "code", "message", "errors"),
        *("data", "paginationInfo", "nextKey", "totalCount", "accountId", "account_id", "cost"),
        *("currency", "date", "cloudProvider", "familyId", "name", "accountIds", "tags", "", "x"),
    ]
).map(json.dumps)


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda parts: f"[{','.join(parts)}]")


def objects(
    values: st.SearchStrategy[str], keys: st.SearchStrategy[str] = KEYS
) -> st.SearchStrategy[str]:
    """JSON objects as text, so that one may have the same key twice."""
    pairs = st.tuples(keys, values).map(":".join)
    return st.lists(pairs, max_size=5).map(lambda parts: f"{{{','.join(parts)}}}")


SCALARS = st.one_of(NUMBERS, TEXTS, st.sampled_from(["null", "true", "false"]))
DEEP = st.tuples(
    st.sampled_from([("[", "]"), ('{"code":', "}"), ('[{"code":', "}]")]),
    st.sampled_from([20, 400, 490, 980, 20_000]),
    SCALARS,
).map(lambda drawn: drawn[0][0] * drawn[1] + drawn[2] + drawn[0][1] * drawn[1])
VALUES = st.one_of(
    SCALARS,
    DEEP,
    st.recursive(SCALARS, lambda inner: arrays(inner) | objects(inner), max_leaves=6),
)


def mostly(usual: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Usual values three times out of four, any value otherwise."""
    return st.one_of(usual, usual, usual, VALUES)


@st.composite
def envelopes(draw: st.DrawFn) -> str:
    """Envelopes of the documented shape, any part of which may be replaced by another value."""
    item = objects(mostly(SCALARS))
    parts = {
        "status": st.one_of(
            DIGITS, objects(SCALARS, st.sampled_from(['"code"', '"message"'])), arrays(VALUES)
        ),
        "items": arrays(item),
        "count": st.sampled_from(["0", "1", "2", "3", "-1"]),
        "errors": arrays(objects(SCALARS, st.sampled_from(['"code"', '"message"', '"field"']))),
        "data": TEXTS,
        "paginationInfo": objects(SCALARS, st.sampled_from(['"nextKey"', '"totalCount"'])),
    }
    names = draw(st.lists(st.sampled_from([*parts, "items", "items", "count"]), max_size=5))
    pairs = [f'"{name}":{draw(mostly(parts[name]))}' for name in names]
    response = draw(mostly(st.just(f"{{{','.join(pairs)}}}")))
    request = draw(mostly(objects(SCALARS, st.sampled_from(['"id"', '"url"']))))
    return f'{{"request":{request},"response":{response}}}'


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """JSON in some encoding, sometimes cut off, doubled, or with other bytes inserted."""
    text = draw(st.one_of(envelopes(), envelopes(), VALUES))
    codec = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"]))
    body = text.encode(codec, "replace")
    place = draw(st.integers(0, len(body)))
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "spliced", "twice"])):
        case "cut":
            return body[:place]
        case "spliced":
            return body[:place] + draw(st.binary(max_size=4)) + body[place:]
        case "twice":
            return body + body
    return body


HEADER_VALUES = st.one_of(
    st.text(max_size=12),
    NUMBERS,
    st.sampled_from(
        [
            *("", " ", "0", "-1", "1_0", "inf", "nan", "1e308", "9" * 400, "\udcff\udcfe", TOKEN),
            "Mon, 01 Oct 2018 00:00:30 GMT",
            "Mon, 01 Oct 2018 00:00:30 -9999",
            "Mon, 99 Oct 99999 99:99:99 GMT",
            "Mon, 01 Oct 2018 00:00:30",
            *("gzip", "identity"),
        ]
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("X-RateLimit-Limit", "x-ratelimit-remaining", "X-RATELIMIT-RESET", "Retry-After"),
                *("Date", "X-Request-Id", "CF-Ray", "Content-Encoding", "Content-Length"),
            ]
        ),
        HEADER_VALUES,
    ),
    max_size=6,
).map(CIMultiDict)
STATUSES = st.one_of(
    st.sampled_from([200, 200, 200, 201, 204, 206, 302, 400, 401, 403, 404, 409, 422, 429, 500]),
    st.integers(0, 10_000),
)
RESPONSES = st.builds(Response, STATUSES, HEADERS, st.one_of(mangled(), mangled(), st.binary()))


def check_error(error: SpotBillingError) -> None:
    """Assert that an error can be printed, encoded as UTF-8 and pickled, without the token."""
    shown = f"{error} {error!r} {vars(error)}"
    shown.encode()
    assert TOKEN not in shown
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@settings(max_examples=6 * settings().max_examples)  # of the profile: 600, thorough 3,000
@given(RESPONSES, st.sampled_from(ITEM_TYPES), st.sampled_from([GET_COSTS, LIST_ACCOUNTS, SETUP]))
def test_any_answer_is_a_page_or_an_error(
    response: Response, item_type: Any, operation: Any
) -> None:
    """Any bytes, status and headers raise no other exception, in the paginator neither."""
    try:
        page = parse_response(operation, response, decoder_for(item_type, totalled=True), SECRET)
        Paginator(operation).add(page)
    except SpotBillingError as raised:
        check_error(raised)
    else:
        assert response.status in {200, 201, 202, 203, 204}
        (page.request_id or "").encode()
    error = read_error(operation, response.status, response.headers, response.body, SECRET)
    check_error(error)
    assert error.status == response.status or response.status < 400


@given(st.lists(HEADERS, min_size=1, max_size=8), st.data())
def test_any_headers_leave_a_limiter_in_order(headers: list[Any], data: st.DataObject) -> None:
    """Malformed, contradictory or huge headers give a valid quota and a wait of at most an hour."""
    limiter, now_s = RouteLimiter(), 0.0
    for each in headers:
        quota = read_quota(each)
        assert quota.limit is None or quota.limit >= 1
        assert quota.remaining is None or quota.remaining >= 0
        assert quota.reset_s is None or 0 <= quota.reset_s <= 3600
        now_s += data.draw(st.floats(0, 100))
        permit = limiter.start(now_s)
        now_s += data.draw(st.floats(0, 100))
        if data.draw(st.booleans()):
            limiter.on_rejected(permit, now_s, quota, data.draw(st.none() | st.floats(0, 1e300)))
        else:
            limiter.on_response(permit, now_s, quota)
        assert 0 <= limiter.wait_s(now_s) <= 3601  # rounding


@pytest.mark.parametrize("code", ["9" * 5000, f'"{"9" * 5000}"', "[" * 900 + "500" + "]" * 900])
@pytest.mark.parametrize("status", [404, 500])
def test_an_absurd_status_in_the_body_does_not_hide_that_of_http(code: str, status: int) -> None:
    """A code of thousands of digits or brackets leaves the error class to the HTTP status."""
    body = f'{{"response":{{"status":{{"code":{code}}}}}}}'.encode()
    with pytest.raises(ApiError) as caught:
        parse_response(
            GET_COSTS,
            Response(status, CIMultiDict(), body),
            decoder_for(CostItem, totalled=True),
            SECRET,
        )
    assert caught.value.status == status


@pytest.mark.parametrize("status", [200, 500])
def test_a_request_id_can_be_encoded(status: int) -> None:
    """Lone surrogates, which invalid UTF-8 in a header becomes, are replaced by question marks."""
    response = Response(status, CIMultiDict({"X-Request-Id": "r\udcff1"}), b"")
    assert read_error(GET_COSTS, status, response.headers, b"", SECRET).request_id == "r?1"
    if status < 400:
        assert (
            parse_response(
                GET_COSTS, response, decoder_for(CostItem, totalled=True), SECRET
            ).request_id
            == "r?1"
        )
