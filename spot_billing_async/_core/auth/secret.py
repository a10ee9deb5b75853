"""Texts that do not show themselves: tokens, passwords, files that hold them.

Tools print the local variables of every frame of a traceback. So the text is revealed inside an
expression alone, or in a function that raises nothing; it never stands in a variable of a frame
that an error may pass through.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import NoReturn
from urllib.parse import SplitResult, urlsplit

_ESCAPES = "%\\&"  # one of which begins whatever stands for a character


_REMOVED = "[token removed]"


_SHORTEST = 8  # characters; anything shorter is a test's token, or a word


class Secret:
    """A text that is masked wherever a value is shown, and is never pickled.

    Args:
        text: what to hide. Anything but text counts as empty: whoever needs one refuses that.
        shown: what its repr says in place of the text.
    """

    __slots__ = ("_shown", "_text")

    def __init__(self, text: object, shown: str = "***") -> None:
        self._text = text if isinstance(text, str) else ""
        self._shown = shown

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def removed_from(self, text: str) -> str:
        """Another text without this one, escaped or not; a word is cut out where it stands alone.

        Escaped as in JSON, URLs and HTML, that is, where it holds more than letters and digits.
        """
        if self._text not in text and not any(map(text.__contains__, _ESCAPES)):
            return text
        return _pattern_of(self._text).sub(_REMOVED, text)

    def is_in(self, text: str) -> bool:
        """Whether another text shows this one."""
        return self.removed_from(text) != text

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: it would be written out")


@lru_cache(maxsize=64)
def _pattern_of(text: str) -> re.Pattern[str]:
    """Finds a text in whatever spelling a server may send it back."""
    if not text:
        return re.compile(r"(?!)")  # nothing is found nowhere
    spelled = "".join(map(_spellings, text))
    return re.compile(spelled if len(text) >= _SHORTEST else rf"(?<!\w){spelled}(?!\w)")


def _spellings(character: str) -> str:
    """A character as itself, or escaped; letters and digits are not."""
    if character.isalnum():
        return character
    code = ord(character)
    escapes = rf"%(?i:{code:02x})|\\u00(?i:{code:02x})|&\#(?:{code}|[xX](?i:{code:x}));"
    return rf"(?:\\?{re.escape(character)}|{escapes})"


def hidden(text: str | Secret) -> Secret:
    """A text that was given as such, or is hidden already."""
    return text if isinstance(text, Secret) else Secret(text)


def masked(hidden_url: Secret, schemes: Collection[str]) -> SplitResult | None:
    """A server's URL with its credentials masked; None for one of no such scheme, or with a query.

    It raises nothing, as it holds the credentials.
    """
    url = hidden_url.reveal()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    is_clean = url.isascii() and url.isprintable() and not set(url) & set(" \\?#")
    if not is_clean or parts.scheme not in schemes or not parts.hostname:
        return None
    credentials, at, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{'***' if credentials else ''}{at}{host}")
