"""Answers of an opponent's server: each row's amount names the request that it answers.

The integer part of an amount is the serial number of an answer, the decimals are the number of the
row in it. So a row tells where it belongs, even where the answer has no ids, no dates and no URL.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Literal, NamedTuple, get_args
from urllib.parse import parse_qsl, urlsplit

import msgspec

from tests.support import http

Echo = Literal["none", "no url", "path only", "full", "account", "days", "encoded", "mixed"]
ECHOES: tuple[Echo, ...] = get_args(Echo)

DEFAULT_LAST = date(2024, 1, 9)
_LARGE_ROWS = 6000


class Asked(NamedTuple):
    """A request as the server received it; a field is None where the request has none."""

    tenant: str
    account: str | None
    from_date: date | None
    to_date: date | None
    group_by: str | None
    key: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """Query parameters by name."""
        values = {
            "accountId": self.account,
            "fromDate": None if self.from_date is None else self.from_date.isoformat(),
            "toDate": None if self.to_date is None else self.to_date.isoformat(),
            "groupBy": self.group_by,
            "paginationKey": self.key,
        }
        return {name: value for name, value in values.items() if value is not None}


def asked_by(head: bytes) -> Asked:
    """Return the request of a head."""
    first, *lines = head.decode().split("\r\n")
    named = dict(parse_qsl(urlsplit(first.split()[1]).query, strict_parsing=True))
    tokens = [line[22:] for line in lines if line.lower().startswith("authorization: bearer ")]
    days = [named.get(name) for name in ("fromDate", "toDate")]
    from_date, to_date = (None if day is None else date.fromisoformat(day) for day in days)
    account, key = named.get("accountId"), named.get("paginationKey")
    return Asked(tokens[0], account, from_date, to_date, named.get("groupBy"), key)


@dataclass(frozen=True)
class Style:
    """Form of a server's answers.

    Attributes:
        echo: form of `request.url`: none at all, a `request` without it, a URL without query, all
            parameters below another path and in another order, those of the account or the days
            only, all of them percent-encoded throughout, or one of these for each answer.
        ids: whether rows have an `accountId`; "number" for JSON numbers where these are equal.
        dates: whether rows have a `date`: a day or a time in it.
        pages: number of pages of an answer.
        has_total: whether pages state the total number of rows.
        large: share of the answers of more than 512 KiB, by many rows or by long ones.
        chunked: whether bodies have the chunked transfer encoding.
    """

    echo: Echo
    ids: Literal["none", "text", "number"]
    dates: Literal["none", "day", "time"]
    pages: int
    has_total: bool
    large: float
    chunked: bool

    @classmethod
    def drawn(cls, chance: Random) -> "Style":
        """Return a random style."""
        return cls(
            echo=chance.choice(ECHOES),
            ids=chance.choice(("none", "text", "number")),
            dates=chance.choice(("none", "day", "time")),
            pages=chance.choice((1, 1, 3)),
            has_total=chance.random() < 0.5,
            large=chance.choice((0.0, 0.0, 0.03)),
            chunked=chance.random() < 0.3,
        )


class Answer(NamedTuple):
    """A right answer to a request.

    Attributes:
        serial: integer part of its amounts.
        asked: the request.
        row_count: number of rows.
        accounts: ids in its rows.
        days: dates in its rows.
        echoed: parameters in its `request.url`.
        next_key: key of the next page.
        data: bytes of the response.
    """

    serial: int
    asked: Asked
    row_count: int
    accounts: frozenset[str]
    days: frozenset[date]
    echoed: dict[str, str]
    next_key: str | None
    data: bytes

    @property
    def costs(self) -> list[Decimal]:
        """Amounts of the rows, in order."""
        return [Decimal(f"{self.serial}.{place:05d}") for place in range(self.row_count)]


def contradictions(asked: Asked, answer: Answer) -> set[str]:
    """Return what of an answer contradicts a request: its "url", an "account" or a "date".

    A parameter contradicts if both the request and the echoed URL have it, with different values.
    An account contradicts if the request names one; a day if it is before or after the requested
    range, where that has an end. The case of letters tells nothing.
    """
    found = set()
    sent = {name: value.casefold() for name, value in asked.parameters.items()}
    if any(sent.get(name, value) != value.casefold() for name, value in answer.echoed.items()):
        found.add("url")
    accounts = {account.casefold() for account in answer.accounts}
    if asked.account is not None and accounts - {asked.account.casefold()}:
        found.add("account")
    first, last = asked.from_date or date.min, asked.to_date or date.max
    if any(not first <= day <= last for day in answer.days):
        found.add("date")
    return found


class Answers:
    """Right answers to requests; equal requests get the same bytes.

    Args:
        style: form of the answers.
        default_accounts: account that is meant where none is named, by tenant.
    """

    def __init__(self, style: Style, default_accounts: dict[str, str]) -> None:
        self.style = style
        self.made: list[Answer] = []
        self._by_request: dict[Asked, Answer] = {}
        self._default_accounts = default_accounts

    def to(self, asked: Asked) -> Answer:
        """Return the answer to a request."""
        if asked not in self._by_request:
            answer = self._made(asked, len(self.made))
            self.made.append(answer)
            self._by_request[asked] = answer
        return self._by_request[asked]

    def costs_of(self, asked: Asked) -> list[Decimal]:
        """Return the amounts of all pages of a query."""
        answer = self.to(asked)
        costs = answer.costs
        while answer.next_key is not None:
            answer = self.to(asked._replace(key=answer.next_key))
            costs += answer.costs
        return costs

    def _made(self, asked: Asked, serial: int) -> Answer:
        style = self.style
        # Of the query only, so that its pages fit together and a run can be repeated.
        chance = Random(repr(asked._replace(key=None)))  # noqa: S311  a seeded test
        last = asked.to_date or DEFAULT_LAST
        first = asked.from_date or last - timedelta(days=2)
        each_day = 0 if chance.random() < 0.04 else chance.choice((1, 1, 2, 3))
        is_large = chance.random() < style.large
        padding = ""
        if is_large and chance.random() < 0.5:
            padding = "x" * 200_000
        elif is_large:
            each_day = _LARGE_ROWS // ((last - first).days + 1) + 1
        account = asked.account or self._default_accounts[asked.tenant]
        days = [
            first + timedelta(days=n)
            for n in range((last - first).days + 1)
            for _ in range(each_day)
        ]
        start, size = int(asked.key or 0), -(-len(days) // style.pages)
        part = days[start : start + size]
        next_key = str(start + size) if start + size < len(days) else None
        echo = chance.choice(ECHOES[:-1]) if style.echo == "mixed" else style.echo
        url, echoed = _url(echo, asked, chance)
        request: dict[str, object] = {"id": f"r{serial}", "method": "GET"}
        if url is not None:
            request["url"] = url
        response: dict[str, object] = {
            "items": [
                _row(style, account, day, f"{serial}.{place:05d}", padding)
                for place, day in enumerate(part)
            ],
            "count": len(part),
        }
        if style.pages > 1:
            total = {"totalCount": len(days)} if style.has_total else {}
            response["paginationInfo"] = {"nextKey": next_key, **total}
        body = {"request": request, "response": response}
        if echo == "none":
            del body["request"]
        return Answer(
            serial,
            asked,
            len(part),
            frozenset({account} if part and style.ids != "none" else ()),
            frozenset(part if style.dates != "none" else ()),
            echoed,
            next_key,
            _sent(msgspec.json.encode(body), chunked=style.chunked),
        )


def _row(style: Style, account: str, day: date, cost: str, padding: str) -> dict[str, object]:
    row: dict[str, object] = {"service": "compute", "cost": msgspec.Raw(cost.encode())}
    if style.ids == "number" and account.isdecimal() and account == str(int(account)):
        row["accountId"] = int(account)
    elif style.ids != "none":
        row["accountId"] = account
    if style.dates != "none":
        row["date"] = day.isoformat() + ("T07:30:00.000Z" if style.dates == "time" else "")
    if padding:
        row["tags"] = padding
    return {**row, "currency": "USD"}


def _url(echo: Echo, asked: Asked, chance: Random) -> tuple[str | None, dict[str, str]]:
    """Return an echoed URL, and the parameters in it."""
    named = asked.parameters
    kept = {"account": {"accountId"}, "days": {"fromDate", "toDate"}}.get(echo, set(named))
    if echo in {"none", "no url"}:
        return None, {}
    if echo == "path only":
        return "/billingEngine/cost", {}
    echoed = {name: value for name, value in named.items() if name in kept}
    pairs = list(echoed.items())
    chance.shuffle(pairs)
    encoded = "&".join(f"{name}={_encoded(value, echo)}" for name, value in pairs)
    origin = chance.choice(("", "https://gateway.example.com:8443"))
    path = chance.choice(("/billingEngine/cost", "/cbi/v2/costs/analysis", "/"))
    return f"{origin}{path}?traceId=7&{encoded}", echoed


def _encoded(value: str, echo: Echo) -> str:
    """Return a value percent-encoded: each byte in small letters, or as few as are necessary."""
    if echo == "encoded":
        return "".join(f"%{byte:02x}" for byte in value.encode())
    return value.replace("%", "%25").replace("&", "%26").replace("+", "%2B").replace(" ", "%20")


def _sent(body: bytes, *, chunked: bool) -> bytes:
    if not chunked:
        return http(body, "Content-Type: application/json")
    middle = len(body) // 2
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:middle], body[middle:]))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    return head + b"\r\n\r\n" + pieces + b"0\r\n\r\n"


def parts(costs: Iterable[Decimal]) -> Iterator[tuple[int, int]]:
    """Yield the serial number of each answer that amounts come from, and their number.

    Raises:
        AssertionError: an answer's rows are not there in order, from the first.
    """
    serial, count = -1, 0
    for cost in costs:
        place = int(cost % 1 * 100_000)
        if serial >= 0 and (int(cost) != serial or place == 0):
            yield serial, count
            count = 0
        serial = int(cost)
        assert place == count, "rows of an answer are missing"
        count += 1
    if serial >= 0:
        yield serial, count
