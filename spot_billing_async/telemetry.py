"""What a call tells about itself while it runs."""

import msgspec


class Tally(msgspec.Struct):
    """Requests counted as they are sent, so that a call that fails or is cancelled is counted too.

    Attributes:
        requests: requests sent, retries included.
        retries: tries made after a failed one.
    """

    requests: int = 0
    retries: int = 0

    def add(self, other: "Tally") -> None:
        """Count in what another tally counted."""
        self.requests += other.requests
        self.retries += other.retries
