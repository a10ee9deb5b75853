"""What the clock of a Redis server shows now, as far as its stamps have told."""

_DRIFT_SHARE = 0.05


class ServerClock:
    """The server's time, by a clock of this process.

    What was stamped last came here a little later: so the largest difference that was seen is the
    closest to the true one, and errs on the late side. As clocks drift, later ones pull at it.

    Args:
        now_s: this process's clock.
        stamp_s: what the server's is likely to show then.
    """

    def __init__(self, now_s: float, stamp_s: float) -> None:
        self._ahead_s = stamp_s - now_s

    def stamp_s(self, now_s: float) -> float:
        """What the server's clock shows, in seconds since 1970."""
        return now_s + self._ahead_s

    def came(self, stamp_s: float, now_s: float) -> None:
        """A stamp has just come."""
        change_s = stamp_s - self.stamp_s(now_s)
        self._ahead_s += change_s if change_s > 0 else change_s * _DRIFT_SHARE

    def told(self, stamp_s: float, now_s: float) -> float:
        """The server has told its time; the seconds by which it is ahead of what was thought."""
        change_s = stamp_s - self.stamp_s(now_s)
        self._ahead_s += change_s
        return change_s
