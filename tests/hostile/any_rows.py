"""Random answers to random queries, and the rule of which rows are accepted.

The rule, for default settings. An answer contradicts its query by

- its URL, if a parameter that both the request and the echoed `request.url` have differs, or if the
  URL has the key of a page that the request does not have;
- an account, if the request names one, and a row has another id, whatever its case;
- a date, if a row's UTC day is before or after the requested days.

Accounts are not compared where the URL has the requested one, and dates are not where it has the
first and the last requested day. An answer that contradicts nothing is taken. Another one is taken
only if it contradicts by accounts alone, with the same other ids that an earlier answer of the same
call had, none of which this client asked for in another query that has rows; or if that happened
before with this tenant's token, also with other ids of that sort.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
from hypothesis import strategies as st

from spot_billing_async import ClientConfig, CostItem, DecodeError, SpotBillingClient
from spot_billing_async.errors import SpotBillingError
from spot_billing_async.models import CostQuery
from tests.hostile.contest import RETRY, TENANTS, Amount
from tests.support import http, serve_streams

ACCOUNTS = ("a", "77", "/sub/1 b+c&d=é")
OTHER_IDS = ("x1", "x2")
FIRST, LAST = date(2025, 1, 10), date(2025, 1, 12)
CONFIG = ClientConfig(retry=RETRY)
ODD_TEXTS = ("", "?", "http://[", "//[::1", "%%%", "/x?%", "/x?=a", "a" * 200, "/x?\u0000=\u202e")
ODD_URLS = (None, *ODD_TEXTS)
ODD_VALUES: tuple[object, ...] = (True, 1.5, {"a": 1}, [], [None], -5, 10**30)


@dataclass(frozen=True)
class Row:
    """Row of an answer: JSON values of account and date, or `...` for none."""

    account: object
    day: object

    @property
    def is_odd(self) -> bool:
        """True where a value has a type that its field does not have."""
        return any(value in ODD_VALUES for value in (self.account, self.day) if value is not ...)

    @property
    def has_id(self) -> bool:
        """True where the row has an id."""
        return isinstance(self.account, str | int) and not isinstance(self.account, bool)

    def other_account(self, asked: str) -> str | None:
        """Return the row's id, if it has one that is not the requested one."""
        folded = str(self.account).casefold()
        return folded if self.has_id and folded != asked.casefold() else None

    def is_outside(self, query: CostQuery) -> bool:
        """Return whether the row's UTC day is outside the requested days."""
        if not isinstance(self.day, str):
            return False
        at = datetime.fromisoformat(self.day)
        day = at.date() if at.tzinfo is None else at.astimezone(UTC).date()
        return not (query.from_date or date.min) <= day <= (query.to_date or date.max)


@dataclass(frozen=True)
class Reply:
    """Answer: its rows, the parameters of its URL, or the odd value instead of it."""

    rows: tuple[Row, ...]
    named: dict[str, str] = field(default_factory=dict)
    odd_url: object = ...
    form: str = "compact"
    is_chunked: bool = False

    def response(self, first_cost: int) -> bytes:
        """Return the bytes of the response; the costs of its rows count from a number."""
        rows = []
        for n, row in enumerate(self.rows):
            named = {"accountId": row.account, "date": row.day, "cost": first_cost + n}
            rows.append({name: value for name, value in named.items() if value is not ...})
        url = self.odd_url
        if self.named and url is ...:
            write = quote if self.form == "escaped" else quote_plus
            url = "/x?" + "&".join(f"{name}={write(value)}" for name, value in self.named.items())
        request = {} if url is ... else {"request": {"url": url, "id": "r"}}
        body = _json({**request, "response": {"items": rows}}, self.form)
        if self.form == "large":
            body = body[:-1] + b" " * 600_000 + body[-1:]
        if not self.is_chunked:
            return http(body)
        pieces = [body[start : start + 300_007] for start in range(0, len(body), 300_007)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks

    def kinds(self, query: CostQuery) -> set[str]:
        """Return what contradicts a query, by the rule of this module."""
        sent = sent_by(query)
        named = self.named if self.odd_url is ... else {}
        found = {"url"} if any(sent.get(k, v) != v for k, v in named.items()) else set()
        if "paginationKey" in named:  # of a later page; no call here has one
            found.add("url")
        if "accountId" not in named and self.other_ids(query):
            found.add("account")
        days = {name for name in ("fromDate", "toDate") if name in sent}
        if not days <= named.keys() and any(row.is_outside(query) for row in self.rows):
            found.add("date")
        return found

    def other_ids(self, query: CostQuery) -> frozenset[str]:
        """Return the ids of its rows that are not the requested one."""
        if query.account_id is None:
            return frozenset()
        ids = (row.other_account(query.account_id) for row in self.rows)
        return frozenset(id_ for id_ in ids if id_ is not None)


@dataclass(frozen=True)
class Call:
    """Call of a tenant, and the answers to its requests; the last one is repeated."""

    tenant: int
    query: CostQuery
    replies: tuple[Reply, ...]


def sent_by(query: CostQuery) -> dict[str, str]:
    """Return the parameters that the request for a query has."""
    values = (query.account_id, query.from_date, query.to_date, query.group_by)
    names = ("accountId", "fromDate", "toDate", "groupBy")
    return {k: str(v) for k, v in zip(names, values, strict=True) if v is not None}


def _json(value: object, form: str) -> bytes:
    """Return JSON text: compact, with spaces, or with each character of a string escaped."""
    if form == "spaced":
        return msgspec.json.format(msgspec.json.encode(value), indent=3)
    if form != "escaped":
        return msgspec.json.encode(value)
    match value:
        case str():
            units = value.encode("utf-16-be").hex()
            inner = "".join(f"\\u{units[n : n + 4]}" for n in range(0, len(units), 4))
            return f'"{inner}"'.encode()
        case dict():
            pairs = (_json(k, form) + b": " + _json(v, form) for k, v in value.items())
            return b"{" + b",".join(pairs) + b"}"
        case list():
            return b"[" + b", ".join(_json(each, form) for each in value) + b"]"
        case _:
            return msgspec.json.encode(value)


def days_of(query: CostQuery) -> st.SearchStrategy[object]:
    """Draw the JSON value of a row's date: mostly inside of the requested days."""
    first, last = query.from_date or FIRST, query.to_date or LAST
    inside = st.dates(first, last).map(date.isoformat)
    edges = st.sampled_from([first - timedelta(days=1), last + timedelta(days=1), date(2019, 1, 1)])
    times = st.builds(
        "{}T{}".format,
        st.dates(first - timedelta(days=1), last + timedelta(days=1)),
        st.sampled_from(
            ["00:00:00Z", "12:00:00.000Z", "23:30:00-02:00", "00:30:00+02:00", "05:00:00"]
        ),
    )
    usual = st.one_of(inside, inside, inside, inside, st.just(...), st.none())
    outside = edges.map(date.isoformat)
    return st.one_of(usual, usual, usual, outside, times, st.sampled_from(ODD_VALUES))


def accounts_of(query: CostQuery) -> st.SearchStrategy[object]:
    """Draw the JSON value of a row's account: mostly the requested one."""
    right: object = query.account_id or "a"
    same = 77 if right == "77" else str(right).upper()
    usual = st.sampled_from([right, right, right, same, ..., None])
    other = st.sampled_from([*OTHER_IDS, *ACCOUNTS, 77])
    return st.one_of(usual, usual, usual, other, st.sampled_from(ODD_VALUES))


@st.composite
def replies_to(draw: st.DrawFn, query: CostQuery) -> Reply:
    """Draw an answer: right, or with one other id in all rows, or with any values."""
    form = draw(st.sampled_from(["compact", "spaced", "escaped", "compact", "spaced", "large"]))
    rows = st.builds(Row, accounts_of(query), days_of(query))
    other = draw(st.sampled_from([None, None, None, *OTHER_IDS, *ACCOUNTS]))
    if other is not None:
        rows = st.builds(Row, st.just(other), st.just(...))
    values = {
        "accountId": st.sampled_from([query.account_id or "a", "zz", *ACCOUNTS]),
        "fromDate": st.sampled_from([str(query.from_date or FIRST), "2025-01-09", "x"]),
        "toDate": st.sampled_from([str(query.to_date or LAST), "2025-01-13"]),
        "groupBy": st.sampled_from([query.group_by or "service", "region"]),
        "paginationKey": st.just("7"),
        "unknown": st.just("z"),
    }
    some: st.SearchStrategy[dict[str, str]] = st.one_of(
        st.just({}), st.just(sent_by(query)), st.fixed_dictionaries({}, optional=values)
    )
    named = draw(some)
    return Reply(
        rows=tuple(draw(st.lists(rows, max_size=3))),
        named=named,
        odd_url=draw(st.one_of(st.just(...), st.just(...), st.sampled_from(ODD_URLS))),
        form=form,
        is_chunked=draw(st.booleans()),
    )


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Draw a call with one to four answers."""
    query = CostQuery(
        account_id=draw(st.sampled_from([*ACCOUNTS, None])),
        from_date=draw(st.sampled_from([FIRST, FIRST, None])),
        to_date=draw(st.sampled_from([LAST, FIRST, None])),
        group_by=draw(st.sampled_from(["service", None])),
    )
    replies = st.lists(replies_to(query), min_size=1, max_size=3)
    return Call(draw(st.sampled_from([0, 0, 1])), query, tuple(draw(replies)))


class Rule:
    """The rule of this module, applied to the calls of one client in order."""

    def __init__(self) -> None:
        self._knows_other_ids = {0: False, 1: False}
        self._asked: set[str] = set()
        self._has_failed = self._was_odd = False

    def check(self, call: Call, sent: int, costs: list[int] | SpotBillingError) -> None:
        """Check the result of a call that sent so many requests."""
        query, known = call.query, self._knows_other_ids[call.tenant]
        replies = [call.replies[min(n, len(call.replies) - 1)] for n in range(RETRY.max_attempts)]
        # After values of a wrong type, only what is never accepted is certain.
        self._was_odd |= any(row.is_odd for reply in replies for row in reply.rows)
        kinds = [reply.kinds(query) for reply in replies]
        others = self._asked - {(query.account_id or "").casefold()}
        for reply, found in zip(replies, kinds, strict=True):
            if known and not reply.other_ids(query) & others:
                found.discard("account")
        assert 1 <= sent <= RETRY.max_attempts
        if isinstance(costs, SpotBillingError):
            assert isinstance(costs, DecodeError), costs
            # One wrong answer is no reason to fail, if the next is right, unless this server has
            # repeated a wrong one before.
            assert self._was_odd or self._has_failed or (kinds[0] and kinds[1])
            self._has_failed = True
        else:
            last, earlier = replies[sent - 1], replies[: sent - 1]
            assert costs == [sent * 1000 + n for n in range(len(last.rows))]
            if kinds[sent - 1]:
                ids = last.other_ids(query)
                assert kinds[sent - 1] == {"account"}, (kinds, "accepted")
                repeated = [reply.other_ids(query) for reply in earlier]
                assert self._was_odd or (ids in repeated and not ids & others)
                self._knows_other_ids[call.tenant] = True
            elif not self._was_odd and not known:
                assert sent == 1 + sum(1 for _ in _while_true(kinds))
        for reply in replies[:sent]:
            if query.account_id is not None and reply.rows:
                self._asked.add(query.account_id.casefold())


def _while_true(kinds: list[set[str]]) -> Iterator[set[str]]:
    for found in kinds:
        if not found:
            return
        yield found


async def play(script: list[Call], item_type: type[Any]) -> None:
    """Make the calls one after the other, and check each result."""
    rule, sent = Rule(), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while await reader.readuntil(b"\r\n\r\n"):
            sent += 1
            replies = call.replies
            writer.write(replies[min(sent, len(replies)) - 1].response(sent * 1000))

    async with (
        serve_streams(answer) as port,
        SpotBillingClient(TENANTS[0], base_url=f"http://127.0.0.1:{port}", config=CONFIG) as client,
    ):
        views = (client, client.with_token(TENANTS[1]))
        for call in script:
            query, sent = call.query, 0
            result: list[int] | SpotBillingError
            try:
                items = await views[call.tenant].costs.get(
                    query.account_id,
                    query.from_date,
                    query.to_date,
                    query.group_by,
                    item_type=item_type,
                )
                result = [int(item.cost) for item in items]
            except SpotBillingError as error:
                result = error
            rule.check(call, sent, result)


SCRIPTS = st.lists(calls(), min_size=1, max_size=4)
ITEM_TYPES = st.sampled_from([CostItem, Amount])
