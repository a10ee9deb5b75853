"""Pagination: joins the pages of a call, and detects missing and repeated ones. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from spot_billing_async._core.protocol.decoder import SaidByRows
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import DecodeError
from spot_billing_async.models.envelope import ResponseStatus
from spot_billing_async.models.money import merge_totals
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import MismatchKind

T = TypeVar("T")

Contradictions = Mapping[MismatchKind, tuple[str, ...]]
"""The first few values of a response that contradict its request, by kind."""

Differences = Mapping[MismatchKind, frozenset[str]]
"""Values that contradict a request, by kind; an empty set where the response agrees."""


class _RawResponse(msgspec.Struct):
    items: msgspec.Raw = msgspec.Raw()


class _RawEnvelope(msgspec.Struct):
    response: _RawResponse


_raw_decoder = msgspec.json.Decoder(_RawEnvelope)


class Page(msgspec.Struct, Generic[T]):
    """Items of one response, and the key of the next page. Its repr shows the number of items only.

    A large body leaves no `body`, but a checksum of the items' text, and what its rows say.
    """

    items: list[T]
    totals: dict[str, Decimal]  # exact sums of their costs by currency
    request_id: str | None
    status: ResponseStatus | None
    next_key: str | None  # None on the last page
    total_count: int | None  # items on all pages, where the server states it
    body: bytes = b""  # which the items were decoded from
    checksum: int | None = None
    is_blank: bool = False  # the response had no body
    echoed_url: str | None = None  # which the server says it received
    said_by_rows: SaidByRows | None = None
    differs: Contradictions = {}
    is_mixed_up: bool = False  # rows name accounts that other queries asked for

    def __repr__(self) -> str:
        return f"Page({len(self.items)} items)"


class Paginator(Generic[T]):
    """Pages of one call, joined in order; a repeated or a missing page is an error.

    Attributes:
        next_key: key of the next page; None after the last.
    """

    def __init__(self, operation: Operation) -> None:
        self.next_key: str | None = None
        self._operation = operation
        self._keys: set[str] = set()
        self._digests: set[bytes | int] = set()
        self._items: list[T] = []
        self._totals: dict[str, Decimal] = {}
        self._total_count: int | None = None

    def add(self, page: Page[T]) -> Answer[T] | None:
        """Add the next page; return the whole answer after the last page, None before it.

        Raises:
            DecodeError: the key of the next page was used before, a page repeats the items of an
                earlier one, a page after the first has no body, the number of items differs from
                the server's count, or the amounts cannot be added without rounding.
        """
        key = self.next_key = page.next_key
        if page.is_blank and self._keys:
            raise self._error("has no body")
        if page.items and (self._keys or key is not None):
            self._require_new(page)
        if self._items:
            self._items += page.items
            try:
                self._totals = merge_totals(self._totals, page.totals)
            except ArithmeticError:
                problem = "cannot be added to the others without rounding"
                raise self._error(problem, permanent=True) from None
        else:
            self._items, self._totals = page.items, page.totals
        # The first count that a page states holds for all pages, as a later one may lack it.
        stated = page.total_count
        total = self._total_count = stated if self._total_count is None else self._total_count
        if total is not None:
            if stated is not None and stated != total:
                raise self._error(f"says totalCount {stated}, an earlier one {total}")
            received = len(self._items)
            if received > total or (key is None and received != total):
                raise self._error(f"ends at item {received}, but totalCount says {total}")
        if key is None:
            return Answer(self._items, page.request_id, page.status, self._totals)
        if key in self._keys:
            raise self._error("has a next key that was used before")
        self._keys.add(key)
        return None

    def _require_new(self, page: Page[T]) -> None:
        """Raise if an earlier page had the same items, byte for byte, in place of its own.

        The items are compared as bytes, as a caller's type may leave out the fields that differ.
        """
        digest: bytes | int | None = page.checksum
        if digest is None:
            items = _raw_decoder.decode(page.body).response.items
            digest = blake2b(items, digest_size=16).digest()
        if digest in self._digests:
            raise self._error("repeats the items of an earlier page")
        self._digests.add(digest)

    def _error(self, problem: str, *, permanent: bool = False) -> DecodeError:
        message = f"{self._operation.operation_id}: page {len(self._keys) + 1} {problem}"
        return DecodeError(message, permanent)
