"""Request counts and limits of a call or a pull."""

import msgspec

from spot_billing_async.errors import RequestLimitReachedError


class Allowance(msgspec.Struct):
    """Number of requests that a group of calls may still send together.

    Attributes:
        left: remaining requests, including retries and pages.
    """

    left: int


class RequestCounts(msgspec.Struct):
    """Request counters, updated at sending so that failed and cancelled calls are included.

    Attributes:
        requests: requests sent, including retries.
        retries: attempts after a failed one.
        refusals: requests rejected by the server's rate limit.
        mismatches: responses that contradicted their query.
        allowance: allowance that each request is deducted from; None for no limit.
    """

    requests: int = 0
    retries: int = 0
    refusals: int = 0
    mismatches: int = 0
    allowance: Allowance | None = None

    def require_request(self) -> None:
        """Raise unless another request may be sent.

        Raises:
            RequestLimitReachedError: the allowance is used up.
        """
        if self.allowance is not None and self.allowance.left < 1:
            raise RequestLimitReachedError("not sent: the pull's max_requests limit is reached")

    def count_request(self) -> None:
        """Count a request that is about to be sent; raise as `require_request` if it must not."""
        if self.allowance is not None:
            self.require_request()
            self.allowance.left -= 1
        self.requests += 1

    def add(self, other: "RequestCounts") -> None:
        """Add the counts of another instance."""
        self.requests += other.requests
        self.retries += other.retries
        self.refusals += other.refusals
        self.mismatches += other.mismatches
