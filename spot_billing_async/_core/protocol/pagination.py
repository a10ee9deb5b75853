"""The pages of an answer, put together; nothing here does I/O."""

from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

from spot_billing_async._core.protocol.operations import Operation
from spot_billing_async.errors import DecodeError
from spot_billing_async.models.envelope import ResponseStatus
from spot_billing_async.models.money import merged_totals
from spot_billing_async.models.results import Answer

T = TypeVar("T")


class _RawResponse(msgspec.Struct):
    items: msgspec.Raw = msgspec.Raw()


class _RawEnvelope(msgspec.Struct):
    response: _RawResponse


_raw_decoder = msgspec.json.Decoder(_RawEnvelope)


@dataclass(slots=True, repr=False)
class Page(Generic[T]):
    """One answer's items, and the key that leads to the next page, if any; its repr shows none.

    Attributes:
        body: what the items were decoded from; of a large one nothing.
        checksum: of a large body.
        is_blank: there was nothing to decode.
    """

    items: list[T]
    totals: dict[str, Decimal]
    request_id: str | None
    status: ResponseStatus | None
    next_key: str | None
    total_count: int | None
    body: bytes = b""
    checksum: int | None = None
    is_blank: bool = False

    def __repr__(self) -> str:
        return f"Page({len(self.items)} items)"


class Paginator(Generic[T]):
    """The pages of one call, put together; it notices a page that repeats, or one that is missing.

    Attributes:
        next_key: what leads to the next page; None after the last.
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
        """Take the next page: the whole answer if it is the last, None where another follows.

        Raises:
            DecodeError: the key of the next page was met before, a page has the items of another,
                one after the first has no body, the items are not as many as the server counted,
                or their amounts cannot be added without rounding.
        """
        if page.is_blank and self._keys:
            raise self._error("has no body")
        if page.items and (self._keys or page.next_key is not None):
            self._require_new(page)
        self._add(page)
        self._count(page)
        key = self.next_key = page.next_key
        if key is None:
            return Answer(self._items, page.request_id, page.status, self._totals)
        if key in self._keys:
            raise self._error("has a key that leads back to a page that was read")
        self._keys.add(key)
        return None

    def _add(self, page: Page[T]) -> None:
        if not self._items:
            self._items, self._totals = page.items, page.totals
            return
        self._items += page.items
        try:
            self._totals = merged_totals(self._totals, page.totals)
        except ArithmeticError:
            problem = self._error("cannot be added to the others without rounding")
        else:
            return
        raise problem

    def _require_new(self, page: Page[T]) -> None:
        """Refuse items that came before, to the byte: a page in the place of another one.

        Items are compared as they came: a caller's type may leave out what tells them apart.
        """
        digest: bytes | int | None = page.checksum
        if digest is None:
            items = _raw_decoder.decode(page.body).response.items
            digest = blake2b(items, digest_size=16).digest()
        if digest in self._digests:
            raise self._error("has the items of an earlier one again")
        self._digests.add(digest)

    def _count(self, page: Page[T]) -> None:
        """Hold the number of items against what any page so far says that it is."""
        stated, came = page.total_count, len(self._items)
        if self._total_count is None:
            self._total_count = stated
        total = self._total_count
        if stated not in {None, total}:
            raise self._error(f"says totalCount {stated}, an earlier one {total}")
        if total is not None and (came > total or (page.next_key is None and came != total)):
            raise self._error(f"ends at item {came}, but totalCount says {total}")

    def _error(self, what: str) -> DecodeError:
        return DecodeError(f"{self._operation.operation_id}: page {len(self._keys) + 1} {what}")
