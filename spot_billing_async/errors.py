"""What can go wrong: one root, and one class for each thing a caller would handle differently.

Every class is plain and picklable: all it carries is in `args`, so it survives a process pool. No
message, argument or note ever holds a token.
"""

from collections.abc import Sequence
from copy import copy
from typing import TypeVar

E = TypeVar("E", bound=BaseException)

CLIENT_IS_NOT_OPEN = "client: it is not open; allowed: calls inside 'async with' alone"
CLIENT_WAS_LEFT = "client: it was left; allowed: calls inside 'async with' alone"
CLIENT_IS_ELSEWHERE = "client: it was entered in another event loop; allowed: calls in it"
"""What a `ConfigError` says where a client is used at the wrong moment, or in the wrong place."""


class SpotBillingError(Exception):
    """Root of every error this package raises on purpose.

    Attributes:
        attempts: requests that the failed call sent (0: it failed before anything was sent).
        met: what went wrong, try by try and in a few words each; the last is this error's own.
    """

    attempts: int = 0
    attempt_errors: tuple[str, ...] = ()


class ConfigError(SpotBillingError, ValueError):
    """A setting or an argument is not usable; nothing was sent.

    The message names the field, the value met and what is allowed.
    """


class ArgumentError(ConfigError):
    """What a call was asked for is not usable, such as an id, a day or a name; nothing was sent.

    A backend has it from its own caller, as a rule; any other `ConfigError` is its own affair.
    """


class MissingExtraError(SpotBillingError, ImportError):
    """A part of the package needs an extra that is not installed; the message names it."""


class TransportError(SpotBillingError):
    """No complete answer came: connecting, sending or reading failed, or the body was cut off.

    `sent` is False only where it is certain that the server cannot have acted on the request.
    """

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message, sent)
        self.message = message
        self.sent = sent

    def __str__(self) -> str:
        return self.message


class DeadlineExceededError(SpotBillingError):
    """The call did not end within its deadline, or a wait that is due would end after it.

    `retry_after_s` is not None where the server's quota is used up until after the deadline: then
    nothing was sent, and so many seconds later the server takes requests again.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class RequestLimitReachedError(SpotBillingError):
    """The `max_requests` of a pull were sent; this one was not, and nothing more is."""


class DecodeError(SpotBillingError):
    """An answer cannot be trusted: no JSON, another shape, or it contradicts itself.

    `permanent` is True where asking again would meet the same: the server's rows are not what the
    item type says. A body that is cut off or garbled may come whole the next time.
    """

    def __init__(self, message: str, permanent: bool = False) -> None:
        super().__init__(message, permanent)
        self.message = message
        self.permanent = permanent

    def __str__(self) -> str:
        return self.message


class ResponseTooLargeError(DecodeError):
    """An answer's body has more than `max_response_bytes`; the rest of it was not read."""


class ApiError(SpotBillingError):
    """The server answered with an error.

    Attributes:
        status: HTTP status; where a 2xx carries an error in its body, the body's own code.
        codes: every `errors[].code` of the body, in order; may be empty.
        message: what the server says, all `errors[].message` joined; else the status line's reason.
        request_id: from the body, else from a header; None where neither has one.
        operation_id: the contract's operationId.
        retry_after_s: seconds the server asks to wait, None where it does not say.
        body_excerpt: the first bytes of the body as text, any token removed.
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
        super().__init__(
            status, tuple(codes), message, request_id, operation_id, retry_after_s, body_excerpt
        )
        self.status = status
        self.codes = tuple(codes)
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
    """400 or 422: the server does not accept the request as it is."""


class AuthenticationError(ApiError):
    """401: the token is missing, wrong or expired."""


class PermissionDeniedError(ApiError):
    """403: the token is good, but not for this."""


class NotFoundError(ApiError):
    """404: no such account, family or route."""


class ConflictError(ApiError):
    """409: the change contradicts what is there, such as an account that is in another family."""


class RateLimitedError(ApiError):
    """429, or a body code that means rate limiting whatever the HTTP status."""


class ServerError(ApiError):
    """5xx: the server, or a proxy before it, failed."""


def own_copy(error: E) -> E:
    """The same error for another one who meets it: what is noted on one is not on the other."""
    mine = copy(error)
    mine.__cause__ = error.__cause__
    if hasattr(error, "__notes__"):
        mine.__notes__ = list(error.__notes__)
    return without_frames(mine)


def without_frames(error: E) -> E:
    """An error without the frames that it came through, and those of what it came of.

    Their variables hold headers and bodies, and tools print them. A cause that was named is kept.
    """
    error.__context__ = None
    bare: E = error.with_traceback(None)
    return bare
