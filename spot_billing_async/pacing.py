"""When the next request may start: pure decisions over plain state, on the caller's clock.

The server counts requests in a sliding window for each organization x route x method, and a request
that comes before the reset of a refusal delays that reset. So a refusal is not the affair of the
one call that met it: it closes the gate of its route for all calls of the credential until then.
"""

import msgspec

_LONGEST_WAIT_S = 3600.0


class Gate(msgspec.Struct):
    """The gate of one credential x route x method.

    Attributes:
        closed_until_s: reading of the clock before which nothing may be sent.
    """

    closed_until_s: float = 0.0

    def wait_s(self, now_s: float) -> float:
        """Seconds from now until the next request may start; 0.0 where it may at once."""
        return max(0.0, self.closed_until_s - now_s)

    def refused(self, now_s: float, retry_after_s: float | None) -> None:
        """The server refused a request for its rate and asked to wait.

        Of several refusals the latest reset counts; one that asks for no wait changes nothing.
        After an hour at most the gate opens to ask again: a client may outlive a proxy's word.
        """
        wait_s = min(retry_after_s or 0.0, _LONGEST_WAIT_S)
        self.closed_until_s = max(self.closed_until_s, now_s + wait_s)
