"""Values that do not show themselves: tokens, passwords, files that hold them.

Tools print the local variables of every frame of a traceback, and the names, attributes and
subscripts in its line. They call nothing. Therefore a value is revealed by a call only, inside an
expression, or in a function that raises nothing; it is never a variable of a frame that an error
may pass through.
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection
from html import unescape
from typing import Generic, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

from spot_billing_async._core.auth.hosts import is_host

T = TypeVar("T")

_REMOVED = "[token removed]"
_MOST_CHARACTERS = 16_384  # of a text of the server; reading the escapes of more would take long
_LONGEST_ESCAPE = 81  # characters that one may take, such as 9 of `&#x0026;`, each escaped again
_ESCAPE = re.compile(r"%[\da-fA-F]{2}|\\[uU][\da-fA-F]{4}|\\[xX][\da-fA-F]{2}|\\|&#?\w{1,31};?")
_RUN = re.compile(r"[\w.~+/=%\\&#;-]+")  # characters of bearer tokens, base64 and escapes
_MOST_LEVELS = 8  # of escapes inside escapes
_MIN_FREE_LENGTH = 8  # characters; shorter texts are words, found only where they stand alone


class Hidden(Generic[T]):
    """A value that cannot be pickled, and whose repr shows another text."""

    __slots__ = ("_shown", "_value")

    def __init__(self, value: T, shown: str = "***") -> None:
        self._value = value
        self._shown = shown

    def reveal(self) -> T:
        """Return the value itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled: its text would be written out")


class Secret(Hidden[str]):
    """A hidden text, which is also found where a server sends it back.

    Anything but a `str` becomes "", which its user then refuses.
    """

    __slots__ = ("_forms",)

    def __init__(self, text: object, shown: str = "***") -> None:
        super().__init__(text if isinstance(text, str) else "", shown)
        self._forms: tuple[str, ...] = ()

    def removed_from(self, text: str) -> str:
        """Return the first 16 KiB of `text` without the runs of characters that show the secret."""
        if len(text) < len(self._value):  # as nearly always
            return text
        # A secret across the end is removed whole.
        text = text[: _MOST_CHARACTERS + _LONGEST_ESCAPE * len(self)]
        if self.is_in(text):
            text = _RUN.sub(lambda run: _REMOVED if self.is_in(run[0]) else run[0], text)
            if self.is_in(text.replace(_REMOVED, " ")):  # it has other characters
                text = _REMOVED
        return text[:_MOST_CHARACTERS]

    def excerpt(self, body: bytes, size: int) -> str:
        """Return the first characters of a body without the secret, in whole before it is cut."""
        start = body[: size + _LONGEST_ESCAPE * len(self)].decode("utf-8", "replace")
        return self.removed_from(start)[:size]

    def is_in(self, text: str) -> bool:
        """Return whether `text` shows this secret, in any case, encoding or nested escapes."""
        if not self._value:
            return False
        self._forms = self._forms or _forms(self._value)
        for _ in range(_MOST_LEVELS + 1):
            lowered = text.lower()
            if any(map(lowered.__contains__, self._forms)) and (
                len(self._value) >= _MIN_FREE_LENGTH
                or re.search(rf"(?<!\w){re.escape(self._forms[0])}(?!\w)", lowered)
            ):
                return True
            escaped, text = text, _ESCAPE.sub(_plain, text)
            if text == escaped:  # as nearly every request id
                break
        return False

    def __len__(self) -> int:
        return len(self._value)


def _forms(text: str) -> tuple[str, ...]:
    """Return a text, its hexadecimal digits, and its base64 after 0, 1 and 2 other bytes.

    All are in lower case; of base64, characters that other bytes have a part in are left out.
    """
    forms = [text]
    if len(text) >= _MIN_FREE_LENGTH:
        data = text.encode("utf-8", "surrogatepass")
        forms.append(data.hex())
        for before in range(3):
            own = slice((before * 8 + 5) // 6, (before + len(data)) * 8 // 6)
            encoders = (b64encode, urlsafe_b64encode)
            forms += (encode(bytes(before) + data).decode()[own] for encode in encoders)
    return tuple(map(str.lower, forms))


def _plain(escape: re.Match[str]) -> str:
    if escape[0].startswith("&"):
        return unescape(escape[0])
    digits = escape[0].lstrip("%\\uUxX")
    return chr(int(digits, 16)) if digits else ""  # a backslash before a character


def hidden(text: str | Secret) -> Secret:
    """Return `text` as a `Secret`."""
    return text if isinstance(text, Secret) else Secret(text)


def masked(hidden_url: Secret, schemes: Collection[str]) -> SplitResult | None:
    """Return the parts of a server's URL with its credentials masked.

    None for another scheme, a query, a fragment, or no URL: nothing is raised, as the variables
    hold the credentials.
    """
    url = hidden_url.reveal()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_clean = url.isascii() and url.isprintable() and not set(url) & set(" \\?#")
    if not is_clean or parts.scheme not in schemes or not is_host(parts.hostname or ""):
        return None
    credentials, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{'***' if credentials else ''}{at}{host}")
