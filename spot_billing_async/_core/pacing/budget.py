"""Request counts and limits of a call or a pull."""

import msgspec

from spot_billing_async.errors import RequestLimitReachedError


class Allowance(msgspec.Struct):
    """Requests, retries and pages included, that a group of calls may still send together."""

    left: int


class RequestCounts(msgspec.Struct):
    """Request counters, updated at sending so that failed and cancelled calls are included."""

    requests: int = 0  # sent, including retries
    retries: int = 0  # attempts after a failed one
    refusals: int = 0  # requests rejected by the server's rate limit
    mismatches: int = 0  # responses that contradicted their query
    allowance: Allowance | None = None  # that each request is deducted from; None for no limit
    is_in_pull: bool = False  # its requests are held back in an outage, ...
    is_probe: bool = False  # ... except for the first one of a probe, ...
    failed_probes: int = 0  # ... which is given more time after each that failed
    failed_attempts: int = 0  # for the response at hand
    was_held_back: bool = False  # earlier, although the API was at work

    def require_request(self) -> None:
        """Raise `RequestLimitReachedError` if the allowance is used up."""
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
