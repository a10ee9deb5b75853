"""Texts that do not show themselves: tokens, passwords, files that hold them.

Tools print the local variables of every frame of a traceback. So the text is revealed inside an
expression alone, or in a function that raises nothing; it never stands in a variable of a frame
that an error may pass through.
"""

import re
from typing import NoReturn

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
        """Another text without this one; a word is cut out where it stands alone."""
        if len(self._text) >= _SHORTEST:
            return text.replace(self._text, _REMOVED)
        return re.sub(rf"(?<!\w){re.escape(self._text)}(?!\w)", _REMOVED, text)

    def is_in(self, text: str) -> bool:
        """Whether another text shows this one."""
        return self.removed_from(text) != text

    def __len__(self) -> int:
        return len(self._text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: it would be written out")
