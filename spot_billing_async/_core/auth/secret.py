"""Texts that do not show themselves: tokens, passwords, files that hold them.

Tools print the local variables of every frame of a traceback. Therefore the text is revealed only
inside an expression, or in a function that raises nothing; it is never a variable of a frame that
an error may pass through.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

from spot_billing_async._core.auth.hosts import is_host

_REMOVED = "[token removed]"
_ESCAPE_STARTS = "%\\&"  # first characters of URL, JSON and HTML escapes
_MIN_FREE_LENGTH = 8  # characters; shorter texts are words, cut out only where they stand alone


class Secret:
    """A text that is masked wherever a value is shown, and cannot be pickled.

    Args:
        text: text to hide. Anything but a `str` becomes "", which its user then refuses.
        shown: text that the repr shows instead.
    """

    __slots__ = ("_shown", "_text")

    def __init__(self, text: object, shown: str = "***") -> None:
        self._text = text if isinstance(text, str) else ""
        self._shown = shown

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def removed_from(self, text: str) -> str:
        """Return `text` without this secret, plain or escaped as in JSON, URLs and HTML."""
        # Regular expressions are slow; most texts hold neither the secret nor an escape.
        if self._text not in text and not any(map(text.__contains__, _ESCAPE_STARTS)):
            return text
        return _pattern_of(self._text).sub(_REMOVED, text)

    def is_in(self, text: str) -> bool:
        """Return whether `text` shows this secret, plain or escaped."""
        return self.removed_from(text) != text

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled: its text would be written out")


@lru_cache(maxsize=64)
def _pattern_of(text: str) -> re.Pattern[str]:
    """Return a pattern that finds `text` in every spelling in which a server may send it back."""
    if not text:
        return re.compile(r"(?!)")  # matches nothing
    spelled = "".join(map(_spellings, text))
    return re.compile(spelled if len(text) >= _MIN_FREE_LENGTH else rf"(?<!\w){spelled}(?!\w)")


def _spellings(character: str) -> str:
    """Return a pattern for a character, plain or escaped. Letters and digits are never escaped."""
    if character.isalnum():
        return character
    code = ord(character)
    escapes = rf"%(?i:{code:02x})|\\u00(?i:{code:02x})|&\#(?:{code}|[xX](?i:{code:x}));"
    return rf"(?:\\?{re.escape(character)}|{escapes})"


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
