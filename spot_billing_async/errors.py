"""Error classes: one root, and a subclass for each failure that callers handle differently.

Every class is plain and picklable: all that it carries is in `args`, so it survives a process pool.
No message, argument or note ever holds a token. `str()` and `repr()` of an error are one printable
line of a few KB, and safe to print and to log, also where the server wrote the text.
"""

import re
import unicodedata
from collections.abc import Sequence
from copy import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)

# Messages of the `ConfigError` for a client that is used outside its block or its event loop.
CLIENT_IS_NOT_OPEN = "the client is not open; use it inside 'async with'"
CLIENT_IS_CLOSED = "the client is closed; use it inside 'async with'"
CLIENT_IS_IN_ANOTHER_LOOP = "the client was opened in another event loop or process; use it there"

# End of the last of `attempt_errors` if time ran out on a connection that may have been dead.
ON_KEPT_CONNECTION = " (on a kept connection)"

_MAX_TEXT = 2_000  # characters of a text of the server
_MAX_NAME = 200  # characters of a code or an id
_MAX_CODES = 20
_LINE_BREAKS = re.compile(r"[\t-\r\x1c-\x1f\x85\u2028\u2029]")
# Characters that `str.isprintable` takes for visible, although Unicode tells renderers to ignore
# them: joiners, fillers and variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def printable(text: str) -> str:
    """Return a text with its control and invisible characters escaped as in JSON.

    Those are characters that steer a terminal, reorder what it shows, or hide in it. Inside JSON,
    the escapes stand for the same text.
    """
    if text.isprintable() and not _INVISIBLE.search(text):
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    is_visible = character.isprintable() or unicodedata.category(character) == "Zs"
    if is_visible and not _INVISIBLE.match(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def printable_lines(text: str) -> str:
    """Return a text of several lines with its other control characters escaped."""
    return "\n".join(map(printable, text.replace("\r\n", "\n").split("\n")))


def single_line(text: str) -> str:
    """Return a text as one printable line."""
    return printable(" ".join(text.split()) if _LINE_BREAKS.search(text) else text)


def shortened(text: str) -> str:
    """Return a text as one printable line of at most 2,000 characters."""
    # Cut before it is escaped, as the text may be as long as a body, and again if it has grown.
    return _cut(single_line(_cut(text, _MAX_TEXT)), _MAX_TEXT)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class SpotBillingError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        attempts: number of requests that the failed call sent; 0 where it failed before the first.
        attempt_errors: short description of each attempt's error, in order; the last describes
            this error.
    """

    attempts: int = 0
    attempt_errors: tuple[str, ...] = ()

    def __str__(self) -> str:
        # Further arguments of a subclass are its attributes.
        return shortened(str(self.args[0])) if self.args else ""

    def __repr__(self) -> str:
        return shortened(super().__repr__())


class ConfigError(SpotBillingError, ValueError):
    """Invalid setting or argument; nothing was sent.

    The message names the field, what is allowed, and the value.
    """


class ArgumentError(ConfigError):
    """Invalid argument of a call, such as an id, a day or a name; nothing was sent.

    In a backend such a value usually comes from its own caller (HTTP 422), whereas any other
    `ConfigError` is a mistake in the backend's configuration (HTTP 500).
    """


class MissingExtraError(SpotBillingError, ImportError):
    """Extra that a part of the package needs and that is not installed; the message names it."""


class TransportError(SpotBillingError):
    """No complete response: connecting, sending or reading failed, or the body was cut off.

    Attributes:
        message: description of the failure.
        sent: False only where it is certain that the server cannot have acted on the request.
        permanent: True where a retry would fail in the same way: a certificate that is not trusted,
            or a proxy that asks for other credentials (407).
    """

    def __init__(self, message: str, sent: bool = True, permanent: bool = False) -> None:
        super().__init__(message, sent, permanent)
        self.message = message
        self.sent = sent
        self.permanent = permanent


class DeadlineExceededError(SpotBillingError):
    """Call that did not end within its deadline, or whose next wait would end after it.

    Attributes:
        message: description of the failure.
        retry_after_s: seconds until the server accepts requests again, where its quota is used up
            until after the deadline and nothing was sent; None otherwise.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s


class OutageError(SpotBillingError):
    """Request of a pull that was held back, as the API is unavailable.

    A slice fails with it only if the API was away for longer than `outage_patience_s`.
    """


class RequestLimitReachedError(SpotBillingError):
    """Request that was not sent because the pull has used its `max_requests`."""


class DecodeError(SpotBillingError):
    """Response that cannot be trusted: invalid JSON, an unexpected shape, or a contradiction.

    Attributes:
        message: description of the problem.
        permanent: True where a retry would fail in the same way, as the server's rows do not match
            the item type. A body that is cut off or garbled may be complete the next time.
    """

    def __init__(self, message: str, permanent: bool = False) -> None:
        message = _cut(message, _MAX_TEXT)  # it may quote the body
        super().__init__(message, permanent)
        self.message = message
        self.permanent = permanent


class ResponseTooLargeError(DecodeError):
    """Response whose body is larger than `max_response_bytes`; the rest of it was not read."""


class ApiError(SpotBillingError):
    """Error response of the server.

    Attributes:
        status: HTTP status; where a 2xx carries an error in its body, the body's own code.
        codes: every `errors[].code` of the body, in order; may be empty. At most 20, of at most
            200 characters.
        message: every `errors[].message` of the body, joined by "; "; else the body's `data` or
            status message; "" where it has none. The first 2,000 characters, as the server sent
            them: print `str(error)` instead.
        request_id: the server's id of the request, from the body or else from a header, at most
            200 characters; None where neither has one.
        operation_id: the contract's operationId.
        retry_after_s: seconds that the server asks to wait; None where it does not say.
        body_excerpt: the first 500 bytes of the body as text, any token removed.
    """

    def __init__(
        self,
        status: int,
        codes: Sequence[str] = (),
        message: str = "",
        request_id: str | None = None,
        operation_id: str | None = None,
        retry_after_s: float | None = None,
        body_excerpt: str = "",
    ) -> None:
        # A failed pull keeps thousands of errors.
        codes = tuple(_cut(code, _MAX_NAME) for code in codes[:_MAX_CODES])
        message = _cut(message, _MAX_TEXT)
        request_id = None if request_id is None else _cut(request_id, _MAX_NAME)
        # Everything is in `args`: pickle calls the constructor with these.
        super().__init__(
            status, codes, message, request_id, operation_id, retry_after_s, body_excerpt
        )
        self.status = status
        self.codes: tuple[str, ...] = codes
        self.message = message
        self.request_id = request_id
        self.operation_id = operation_id
        self.retry_after_s = retry_after_s
        self.body_excerpt = body_excerpt

    def __str__(self) -> str:
        parts = [f"{self.operation_id or 'request'} answered {self.status}"]
        if self.message:
            parts.append(shortened(self.message))
        if self.codes:
            parts.append(f"[{shortened(', '.join(self.codes))}]")
        if self.request_id:
            parts.append(f"(request id {printable(self.request_id)})")
        return " ".join(parts)


class InvalidRequestError(ApiError):
    """Status 400 or 422: the server does not accept the request as it is."""


class AuthenticationError(ApiError):
    """Status 401: the token is missing, wrong or expired."""


class PermissionDeniedError(ApiError):
    """Status 403: the token is valid, but does not permit this operation."""


class NotFoundError(ApiError):
    """Status 404: no such account, family or route."""


class ConflictError(ApiError):
    """Status 409: the change conflicts with existing data, such as an account in another family."""


class RateLimitedError(ApiError):
    """Status 429, or a code in the body that means rate limiting, with any HTTP status."""


class ServerError(ApiError):
    """Status 5xx: the server, or a proxy in front of it, failed."""


def own_copy(error: E) -> E:
    """Return a copy of an error for another caller of a shared request, with notes of its own."""
    copied = copy(error)
    copied.__cause__ = error.__cause__
    if hasattr(error, "__notes__"):
        copied.__notes__ = list(error.__notes__)
    return without_frames(copied)


def without_frames(error: E) -> E:
    """Remove from an error its traceback and its implicit context; an explicit cause is kept.

    Tools that print tracebacks also print the variables of their frames, which hold headers and
    bodies.
    """
    error.__context__ = None
    stripped: E = error.with_traceback(None)
    return stripped
