"""Error classes: one root, and a subclass for each failure that callers handle differently.

Every class is plain and picklable: all that it carries is in `args`, so it survives a process pool.
No message, argument or note ever holds a token.
"""

from collections.abc import Sequence
from copy import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)

# Messages of the `ConfigError` for a client that is used outside its block or its event loop.
CLIENT_IS_NOT_OPEN = "the client is not open; use it inside 'async with'"
CLIENT_IS_CLOSED = "the client is closed; use it inside 'async with'"
CLIENT_IS_IN_ANOTHER_LOOP = "the client was opened in another event loop; use it in that loop"


class SpotBillingError(Exception):
    """Root of every error that this package raises on purpose.

    Attributes:
        attempts: number of requests that the failed call sent; 0 where it failed before the first.
        attempt_errors: short description of each attempt's error, in order; the last describes
            this error.
    """

    attempts: int = 0
    attempt_errors: tuple[str, ...] = ()


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
    """

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message, sent)
        self.message = message
        self.sent = sent

    def __str__(self) -> str:
        return self.message


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

    def __str__(self) -> str:
        return self.message


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
        super().__init__(message, permanent)
        self.message = message
        self.permanent = permanent

    def __str__(self) -> str:
        return self.message


class ResponseTooLargeError(DecodeError):
    """Response whose body is larger than `max_response_bytes`; the rest of it was not read."""


class ApiError(SpotBillingError):
    """Error response of the server.

    Attributes:
        status: HTTP status; where a 2xx carries an error in its body, the body's own code.
        codes: every `errors[].code` of the body, in order; may be empty.
        message: every `errors[].message` of the body, joined by "; "; else the body's `data` or
            status message; "" where it has none.
        request_id: the server's id of the request, from the body or else from a header; None where
            neither has one.
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
        # Everything is in `args`: pickle calls the constructor with these.
        super().__init__(
            status, tuple(codes), message, request_id, operation_id, retry_after_s, body_excerpt
        )
        self.status = status
        self.codes: tuple[str, ...] = tuple(codes)
        self.message = message
        self.request_id = request_id
        self.operation_id = operation_id
        self.retry_after_s = retry_after_s
        self.body_excerpt = body_excerpt

    def __str__(self) -> str:
        parts = [f"{self.operation_id or 'request'} answered {self.status}"]
        if self.message:
            parts.append(self.message)
        if self.codes:
            parts.append(f"[{', '.join(self.codes)}]")
        if self.request_id:
            parts.append(f"(request id {self.request_id})")
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
