"""JSON that msgspec accepts, but another parser might read differently: refused. Pure."""

import json
import re
from contextlib import suppress
from decimal import Decimal

import msgspec

from spot_billing_async._core.auth.secret import Secret
from spot_billing_async.errors import DecodeError

_KEY_CHARACTERS = 200  # of a key, shown in the error
_SMALL_BYTES = 4096

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)
"""Exceptions of decoding: invalid JSON, JSON of another shape, or numbers out of range."""

plain_decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(float_hook=Decimal)
"""Decoder to dict, list, str, int, Decimal, bool and None."""


class Strictness:
    """Check of JSON text for repeated keys and misspelled amounts.

    Reading every key takes as long as decoding, so all are read only if there is a cheap sign: two
    lists named `items`; any key twice in the first row, unless an object is in it; a second
    cost in any row of a text of up to 4 KB. Amounts given as text are looked at if the first row
    has one, or a text of up to 4 KB has a character that no number has.
    """

    def __init__(self, cost_key: str | None) -> None:
        self._cost_key = cost_key  # None where the items have no amounts
        self._cost_text = f'"{cost_key}"'.encode()
        self._odd_amount = re.compile(
            re.escape(self._cost_text) + rb'\s*:\s*"[^"]*[^0-9A-Za-z.+"-]'
        )

    def check(self, operation_id: str, item_count: int, text: bytes, token: Secret) -> None:
        """Raise if decoding dropped a value because its key came twice, or repaired an amount."""
        first, is_small = text.find(b"["), len(text) <= _SMALL_BYTES
        row = text[text.find(b"{", first) : text.find(b"}", first) + 1]
        try:
            decoded = plain_decoder.decode(row)
        except UNREADABLE:
            decoded = None
        fields = decoded if isinstance(decoded, dict) else {}
        has_cost = self._cost_key is not None
        row_repeats = bool(fields) and row.count(b'":') > len(fields)
        cost_repeats = has_cost and is_small and text.count(self._cost_text) > item_count
        has_lists = not item_count or text.find(b"[", first + 1) >= 0
        has_sign = row_repeats or cost_repeats or (has_lists and text.count(b'"items"') > 1)
        if has_sign and (key := key_given_twice(text)) is not None:
            problem = f"an object has the key {token.removed_from(key)[:_KEY_CHARACTERS]!r} twice"
            raise DecodeError(f"{operation_id}: {problem}", permanent=True)
        is_text = isinstance(fields.get(self._cost_key), str) or (
            is_small and (b"_" in text or b"\\" in text or not text.isascii())
        )
        if has_cost and is_text and self._odd_amount.search(text):
            problem = "an amount has characters that no number has"
            raise DecodeError(f"{operation_id}: {problem}", permanent=True)


def key_given_twice(text: bytes) -> str | None:
    """Return a key that an object in a JSON text has twice; None where there is none."""
    found: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        keys = [key for key, _ in pairs]
        if len(set(keys)) < len(keys):
            found.append(max(keys, key=keys.count))

    with suppress(ValueError, RecursionError):  # msgspec has decoded it
        # Numbers stay text: Python refuses thousands of digits.
        json.loads(text, strict=False, object_pairs_hook=look, parse_float=str, parse_int=str)
    return found[0] if found else None
