"""What befalls a request by chance: how long it takes, and what goes wrong with it. Pure.

It follows from the seed, the method, the target (path and query as they came) and how many equal
requests came before. It does not follow from the order in which different requests arrive, so that
a client that sends them side by side meets the same every time.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

_MOST_TARGETS = 100_000
"""So many different requests are counted; beyond, the one longest unseen is forgotten."""


class Fault(Enum):
    """What may go wrong with a request; the value is its name on the command line.

    `server-error`: a 500 in the envelope.
    `bad-gateway`: a 502 with the HTML page of a proxy.
    `reset-before`: the connection reset before a byte of the answer.
    `reset-in-headers`: reset within the headers.
    `reset-after-headers`: reset when the headers are complete.
    `half-closed`: a part of the body, then the end of the server's side; it goes on reading.
    `cut-off`: half of the body, then the connection is closed.
    `wrong-count`: a 200 whose count is one more than its items; a 500 where there is no count.
    `slow-drip`: the true answer, in pieces over a second.
    `garbage`: bytes that are no HTTP.
    `gzip-bomb`: a 200 of some tens of KB that unpack to 64 MiB of blanks.

    Four are lies that a list tells: a 200 that is in order, but for the rows that it holds. Where
    a list has no room for its lie, it is told as it is.

    `dropped-page`: the key of the next page leads past it.
    `repeated-page`: the rows of the page before come again, in the place of the page's own.
    `short-count`: fewer rows than the count says.
    `lost-row`: one row is missing, and what counts rows agrees with that.
    """

    SERVER_ERROR = "server-error"
    BAD_GATEWAY = "bad-gateway"
    RESET_BEFORE = "reset-before"
    RESET_IN_HEADERS = "reset-in-headers"
    RESET_AFTER_HEADERS = "reset-after-headers"
    HALF_CLOSED = "half-closed"
    CUT_OFF = "cut-off"
    WRONG_COUNT = "wrong-count"
    SLOW_DRIP = "slow-drip"
    GARBAGE = "garbage"
    GZIP_BOMB = "gzip-bomb"
    DROPPED_PAGE = "dropped-page"
    REPEATED_PAGE = "repeated-page"
    SHORT_COUNT = "short-count"
    LOST_ROW = "lost-row"

    @property
    def is_lie(self) -> bool:
        """Whether it is an answer in order, but for the rows that it holds."""
        return self in _LIES


_LIES = frozenset({Fault.DROPPED_PAGE, Fault.REPEATED_PAGE, Fault.SHORT_COUNT, Fault.LOST_ROW})
_PLAIN = tuple(fault for fault in Fault if not fault.is_lie)


@dataclass(frozen=True)
class FaultPlan:
    """Which share of all requests, 0 to 1, meets which fault.

    Raises:
        ValueError: a share is not a number from 0 to 1, or they sum to more than 1.
    """

    shares: Mapping[Fault, float]

    def __post_init__(self) -> None:
        shares = self.shares.values()
        # The sum of shares such as eleven times 1/11 may be above 1 by its last digit.
        if not all(0 <= share <= 1 for share in shares) or math.fsum(shares) > 1 + 1e-9:
            raise ValueError("faults are shares from 0 to 1, and sum to at most 1")

    @classmethod
    def even(cls, share: float) -> "FaultPlan":
        """That share of all requests, every fault but the lies equally likely; 0 for no faults.

        Those are what a client can tell from an answer on its own, and ask again. A server that
        lies is asked for by name.
        """
        return cls({fault: share / len(_PLAIN) for fault in _PLAIN} if share else {})

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Read '0.05', which is even, or 'reset-before=0.02,gzip-bomb=0.01'.

        Raises:
            ValueError: it is written otherwise, a fault is unknown or named twice, or the shares
                make no plan.
        """
        if "=" not in text:
            return cls.even(_share(text))
        shares: dict[Fault, float] = {}
        for part in text.split(","):
            name, _, share = part.partition("=")
            fault = _fault(name.strip())
            if fault in shares:
                raise ValueError(f"{fault.value} is named twice in {text!r}")
            shares[fault] = _share(share)
        return cls(shares)

    def fault_at(self, point: float) -> Fault | None:
        """The fault whose stretch of 0 to 1 holds the point: the shares lie there end to end."""
        for fault, share in self.shares.items():
            point -= share
            if point < 0:
                return fault
        return None


class Latency(NamedTuple):
    """How long requests take, in seconds: evenly spread from mean - spread to mean + spread."""

    mean_s: float
    spread_s: float = 0

    @classmethod
    def parse(cls, text: str) -> "Latency":
        """Read '50ms', '0.05s', '50ms±20ms' or '50ms+-20ms'.

        Raises:
            ValueError: it is written otherwise.
        """
        time = r"(\d+(?:\.\d+)?)(ms|s)"
        match = re.fullmatch(rf"{time}(?:(?:±|\+-){time})?", text, re.ASCII)
        if match is None:
            raise ValueError(f"a latency is written like 50ms, 0.05s or 50ms±20ms, not {text!r}")
        mean, unit, spread, spread_unit = match.groups(default="0")
        return cls(_seconds(mean, unit), _seconds(spread, spread_unit))


class Lot(NamedTuple):
    """What befalls one request.

    Attributes:
        fault: what goes wrong; None for nothing.
        latency_s: how long the work on it takes.
        place: where in its list a lie is told, from 0 to below 1 of it.
    """

    fault: Fault | None
    latency_s: float
    place: float = 0.0


class Chance:
    """Draws the lot of each request; the same seed draws the same."""

    def __init__(self, faults: FaultPlan, latency: Latency, seed: int) -> None:
        self._faults = faults
        self._latency = latency
        self._seed = seed
        self._varies = any(faults.shares.values()) or latency.spread_s > 0
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def draw(self, method: str, target: str) -> Lot:
        """The lot of a request for `target`, its path and query as they came."""
        mean_s, spread_s = self._latency
        if not self._varies:
            return Lot(None, mean_s)
        # A target may hold what is no Unicode.
        equal = blake2b(f"{method} {target}".encode(errors="backslashreplace"), digest_size=16)
        came_before = self._count(equal.digest())
        text = f"{self._seed} {came_before} {equal.hexdigest()}"
        point, latency = fractions(text)
        fault, latency_s = self._faults.fault_at(point), mean_s + spread_s * (2 * latency - 1)
        if fault is None or not fault.is_lie:
            return Lot(fault, latency_s)
        place, _ = fractions(f"{text} place")
        return Lot(fault, latency_s, place)

    def _count(self, equal: bytes) -> int:
        """How many such requests came before this one, which is counted too."""
        came_before = self._seen.pop(equal, 0)
        self._seen[equal] = came_before + 1
        if len(self._seen) > _MOST_TARGETS:
            self._seen.popitem(last=False)
        return came_before


def fractions(text: str) -> tuple[float, float]:
    """Two numbers from 0 to below 1 that follow from the text, and look like chance."""
    drawn = blake2b(text.encode(), digest_size=16).digest()
    # As many bits as a float holds: more would be rounded, up to 1.
    first, second = (int.from_bytes(half) >> 11 for half in (drawn[:8], drawn[8:]))
    return first / 2**53, second / 2**53


def _fault(name: str) -> Fault:
    try:
        return Fault(name)
    except ValueError:
        allowed = ", ".join(fault.value for fault in Fault)
        raise ValueError(f"there is no fault {name!r}; allowed: {allowed}") from None


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"faults are written like 0.05 or reset-before=0.02,gzip-bomb=0.01, not {text!r}"
        ) from None


def _seconds(number: str, unit: str) -> float:
    return float(number) / (1000 if unit == "ms" else 1)
