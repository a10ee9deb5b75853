"""Counts and caps the requests of a call or a pull."""

import msgspec

from spot_billing_async.errors import RequestLimitReachedError


class Allowance(msgspec.Struct):
    """How many requests some calls may still send, all together.

    Attributes:
        left: requests that may still be sent, retries and pages included.
    """

    left: int

    def require(self) -> None:
        """See that a request may still be sent.

        Raises:
            RequestLimitReachedError: none is left.
        """
        if self.left < 1:
            raise RequestLimitReachedError("not sent: the pull's max_requests are spent")


class RequestCounts(msgspec.Struct):
    """Requests counted as they are sent, so that a call that fails or is cancelled is counted too.

    Attributes:
        requests: requests sent, retries included.
        retries: tries made after a failed one.
        refusals: requests that the server refused for their rate.
        allowance: what each request is taken from; None for no limit.
    """

    requests: int = 0
    retries: int = 0
    refusals: int = 0
    allowance: Allowance | None = None

    def require_request(self) -> None:
        """See that a request may still be sent.

        Raises:
            RequestLimitReachedError: the allowance is spent.
        """
        if self.allowance is not None:
            self.allowance.require()

    def count_request(self) -> None:
        """Count a request that is sent now.

        Raises:
            RequestLimitReachedError: the allowance is spent; it must not be sent.
        """
        if self.allowance is not None:
            self.allowance.require()
            self.allowance.left -= 1
        self.requests += 1

    def add(self, other: "RequestCounts") -> None:
        """Count in what another tally counted."""
        self.requests += other.requests
        self.retries += other.retries
        self.refusals += other.refusals
