"""Pagination: joins the pages of a call, and detects missing and repeated ones. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from spot_billing_async._core.protocol.decoder import SaidByRows, add_totals
from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import DecodeError
from spot_billing_async.models.results import Answer
from spot_billing_async.telemetry import MismatchKind

T = TypeVar("T")

Contradictions = Mapping[MismatchKind, tuple[str, ...]]
"""The first few values of a response that contradict its request, by kind."""

Differences = Mapping[MismatchKind, frozenset[str]]
"""Values that contradict a request, by kind; an empty set where the response agrees."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Page(Answer[T]):
    """Answer of one response, and the key of the next page.

    A large body leaves no `body`, but a checksum of the items' text, and what its rows say.
    """

    next_key: str | None  # None on the last page
    total_count: int | None  # items on all pages, where the server states it
    body: bytes = b""  # which the items were decoded from
    checksum: int | None = None
    is_blank: bool = False  # the response had no body
    echoed_url: str | None = None  # which the server says it received
    said_by_rows: SaidByRows | None = None
    differs: Contradictions = msgspec.field(default_factory=dict)
    is_mixed_up: bool = False  # rows name accounts that other queries asked for


class Paginator(Generic[T]):
    """Pages of one call, joined in order; a repeated or a missing page is an error."""

    def __init__(self, operation: Operation) -> None:
        self.next_key: str | None = None  # None after the last page
        self._operation = operation
        self._keys: set[str] = set()
        self._digests: set[bytes | int] = set()
        self._items: list[T] = []
        self._totals: Mapping[str, Decimal] = {}
        self._total_count: int | None = None

    def add(self, page: Page[T]) -> Answer[T] | None:
        """Add the next page; return the whole answer after the last page, None before it."""
        key = self.next_key = page.next_key
        if page.is_blank and self._keys:
            raise self._error("has no body")
        if page.items and (self._keys or key is not None):
            self._require_new(page)
        if self._items:
            self._items += page.items
            self._totals = add_totals(self._operation.operation_id, self._totals, page.totals)
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
        """Raise if an earlier page had the same items."""
        # As bytes, because a caller's type may leave out the fields that differ.
        digest: bytes | int | None = page.checksum
        if digest is None:
            items = _members.decode(_members.decode(page.body)["response"])["items"]
            digest = blake2b(items, digest_size=16).digest()
        if digest in self._digests:
            raise self._error("repeats the items of an earlier page")
        self._digests.add(digest)

    def _error(self, problem: str) -> DecodeError:
        page = f"{self._operation.operation_id}: page {len(self._keys) + 1}"
        return DecodeError(f"{page} {problem}")
