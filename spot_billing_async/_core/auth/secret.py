"""Values that do not show themselves: tokens, passwords, files that hold them.

Tools print the local variables of every frame of a traceback, and the names, attributes and
subscripts in its line. They call nothing. Therefore a value is revealed by a call only, inside an
expression, or in a function that raises nothing; it is never a variable of a frame that an error
may pass through.
"""

import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection, Iterator, Sequence
from html import unescape
from typing import Generic, NoReturn, TypeVar
from urllib.parse import SplitResult, urlsplit

from spot_billing_async._core.auth.hosts import is_host

T = TypeVar("T")

_REMOVED = "[token removed]"
_MOST_CHARACTERS = 16_384  # of a text of the server; reading the escapes of more would take long
LONGEST_ESCAPE = 81  # characters that one may take, such as 9 of `&#x0026;`, each escaped again
_ESCAPE = re.compile(r"%[\da-f]{2}|\\u[\da-f]{4}|\\x[\da-f]{2}|\\|&#?\w{1,31};?", re.IGNORECASE)
_MOST_LEVELS = 8  # of escapes inside escapes; text that was escaped more often is not read
_MIN_FREE_LENGTH = 8  # characters; shorter texts are words, cut out only where they stand alone


class Hidden(Generic[T]):
    """A value that is masked wherever a value is shown, and cannot be pickled.

    Args:
        value: value to hide.
        shown: text that the repr shows instead.
    """

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

    Args:
        text: text to hide. Anything but a `str` becomes "", which its user then refuses.
        shown: text that the repr shows instead.
    """

    __slots__ = ("_forms",)

    def __init__(self, text: object, shown: str = "***") -> None:
        super().__init__(text if isinstance(text, str) else "", shown)
        self._forms: tuple[str, ...] = ()

    def removed_from(self, text: str) -> str:
        """Return the first 16 KiB of `text` without this secret.

        It is found in upper and lower case, escaped as in JSON, URLs and HTML, also inside each
        other, and encoded in base64 or hexadecimal digits.
        """
        if len(text) < len(self._value):  # as nearly always
            return text
        # A secret across the end is removed whole.
        text, end = text[: _MOST_CHARACTERS + LONGEST_ESCAPE * len(self)], 0
        kept: list[str] = []
        for start, stop in sorted(self._spans(text)):
            if start >= end:
                kept += text[end:start], _REMOVED
            end = max(end, stop)
        return "".join((*kept, text[end:]))[:_MOST_CHARACTERS]

    def is_in(self, text: str) -> bool:
        """Return whether `text` shows this secret, in one of the forms of `removed_from`."""
        return next(self._spans(text), None) is not None

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where in `text` this secret starts and ends."""
        if not self._value or len(text) < len(self._value):
            return
        self._forms = self._forms or _forms(self._value)
        if not (_has_escape(text) or any(map(text.lower().__contains__, self._forms))):
            return
        stands_alone = len(self._value) < _MIN_FREE_LENGTH
        for plain, places in _unescaped(text):
            lowered = plain.lower()
            for number, form in enumerate(self._forms):
                is_base64 = number > 1  # where a character on each side may have some bits of it
                start = lowered.find(form)
                while start >= 0:
                    stop = start + len(form)
                    around = lowered[max(start - 1, 0) : start] + lowered[stop : stop + 1]
                    if not (stands_alone and re.search(r"\w", around)):
                        yield (
                            places[max(start - is_base64, 0)],
                            places[min(stop + is_base64, len(plain))],
                        )
                    start = lowered.find(form, stop)

    def __len__(self) -> int:
        return len(self._value)


def _forms(text: str) -> tuple[str, ...]:
    """Return a text, its hexadecimal digits, and its base64 after 0, 1 and 2 other bytes.

    All are in lower case; of base64, characters that other bytes have a part in are left out.
    """
    if len(text) < _MIN_FREE_LENGTH:
        return (text.lower(),)
    data = text.encode("utf-8", "surrogatepass")
    return (
        text.lower(),
        data.hex(),
        *(
            encode(bytes(before) + data)
            .decode()[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
            .lower()
            for before in range(3)
            for encode in (b64encode, urlsafe_b64encode)
        ),
    )


def _unescaped(text: str) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield a text with its escapes read, level by level, and the places of its characters."""
    places: Sequence[int] = range(len(text) + 1)
    yield text, places
    for _ in range(_MOST_LEVELS):
        if not _has_escape(text):
            return
        characters: list[str] = []
        origins: list[int] = []
        end = 0
        for found in _ESCAPE.finditer(text):
            start, plain = found.start(), _plain(found[0])
            characters += text[end:start], plain
            origins += *places[end:start], *[places[start]] * len(plain)
            end = found.end()
        plain = "".join((*characters, text[end:]))
        if plain == text:
            return
        text, places = plain, [*origins, *places[end:]]
        yield text, places


def _has_escape(text: str) -> bool:
    return "%" in text or "\\" in text or "&" in text


def _plain(escape: str) -> str:
    if escape.startswith("&"):
        return unescape(escape)
    digits = escape.lstrip("%\\uUxX")
    return chr(int(digits, 16)) if digits else ""  # a backslash before a character


def hidden(text: str | Secret) -> Secret:
    """Return `text` as a `Secret`."""
    return text if isinstance(text, Secret) else Secret(text)


def masked(hidden_url: Secret, schemes: Collection[str]) -> SplitResult | None:
    """Return the parts of a server's URL with its credentials masked.

    Returns:
        None for a URL of another scheme, one with a query or fragment, or no URL at all. The
        function raises nothing, because its variables hold the credentials.
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
