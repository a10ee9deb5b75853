"""Estimate of a Redis server's clock, from the time stamps of its streams."""

_DRIFT_SHARE = 0.05


class ServerClock:
    """The server's time, relative to a clock of this process.

    Each stamp arrives a little after it was made, so the largest difference seen is the closest to
    the true one, and the estimate is late rather than early. As clocks drift, smaller differences
    lower the estimate gradually.

    Args:
        now_s: time of this process's clock.
        stamp_s: expected time of the server's clock at that moment.
    """

    def __init__(self, now_s: float, stamp_s: float) -> None:
        self._ahead_s = stamp_s - now_s

    def stamp_s(self, now_s: float) -> float:
        """Return the estimated time of the server's clock, in seconds since 1970."""
        return now_s + self._ahead_s

    def observe(self, stamp_s: float, now_s: float) -> None:
        """Adjust the estimate by a stamp that has just arrived."""
        change_s = stamp_s - self.stamp_s(now_s)
        self._ahead_s += change_s if change_s > 0 else change_s * _DRIFT_SHARE

    def synchronize(self, time_s: float, now_s: float) -> float:
        """Set the clock to the time the server reports; return the seconds it moved forward."""
        change_s = time_s - self.stamp_s(now_s)
        self._ahead_s += change_s
        return change_s
