"""Seeded random latency and faults for each request. Without I/O.

Both follow from the seed, the method, the target (path and query as received) and the number of
equal requests before. They do not depend on the order in which different requests arrive, so that a
client that sends them concurrently gets the same faults on every run. Only the other request that a
misdelivered response affects depends on the order.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import NamedTuple

_MAX_TARGETS = 100_000
"""Different requests that are counted; beyond, the least recently seen one is forgotten."""


class Fault(Enum):
    """Kind of failure of a request; the value is its name on the command line.

    `server-error`: a 500 in the envelope.
    `bad-gateway`: a 502 with the HTML page of a proxy.
    `reset-before`: the connection is reset before the first byte of the response.
    `reset-in-headers`: the connection is reset within the headers.
    `reset-after-headers`: the connection is reset after the complete headers.
    `half-closed`: half of the body, then the server closes its sending side and keeps reading.
    `cut-off`: half of the body, then the connection is closed.
    `wrong-count`: a 200 whose count is one more than its items; a 500 if the response has no count.
    `slow-drip`: the correct response, in pieces over one second.
    `garbage`: bytes that are not HTTP.
    `gzip-bomb`: a 200 of some tens of KB that decompress to 64 MiB of spaces.

    Four kinds are wrong answers: a 200 that is valid in form, but lists wrong rows. Where a kind
    does not apply to a list, the list is returned correctly.

    `dropped-page`: the key of the next page skips that page.
    `repeated-page`: the rows of the previous page, instead of the page's own.
    `short-count`: fewer rows than the count.
    `lost-row`: one row is missing, and all counts agree with that.

    Four kinds are correct responses in a wrong place. They disturb other requests too.

    `duplicate`: the response is sent twice in a row.
    `idle-duplicate`: it is sent again after 20 ms, while the connection is idle, or before the
        response to the next request if that arrives sooner.
    `late-duplicate`: it is sent again when the next request on the connection has arrived, before
        the response to that.
    `misdirect`: it is swapped with the next response on another connection; if none is sent within
        100 ms, it is delivered correctly.
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
    DUPLICATE = "duplicate"
    IDLE_DUPLICATE = "idle-duplicate"
    LATE_DUPLICATE = "late-duplicate"
    MISDIRECT = "misdirect"

    @property
    def is_wrong_answer(self) -> bool:
        """True for a response that is valid in form, but lists wrong rows."""
        return self in _WRONG_ANSWERS

    @property
    def is_misdelivered(self) -> bool:
        """True for a correct response that arrives where another one is expected."""
        return self in _MISDELIVERED


_WRONG_ANSWERS = frozenset(
    {Fault.DROPPED_PAGE, Fault.REPEATED_PAGE, Fault.SHORT_COUNT, Fault.LOST_ROW}
)
_MISDELIVERED = frozenset(
    {Fault.DUPLICATE, Fault.IDLE_DUPLICATE, Fault.LATE_DUPLICATE, Fault.MISDIRECT}
)
_DETECTABLE = tuple(
    fault for fault in Fault if not (fault.is_wrong_answer or fault.is_misdelivered)
)


@dataclass(frozen=True)
class FaultPlan:
    """Share of all requests, 0 to 1, for each fault.

    Raises:
        ValueError: a share is not a number from 0 to 1, or they add up to more than 1.
    """

    shares: Mapping[Fault, float]

    def __post_init__(self) -> None:
        shares = self.shares.values()
        # The sum of shares such as eleven times 1/11 may exceed 1 by a rounding error.
        if not all(0 <= share <= 1 for share in shares) or math.fsum(shares) > 1 + 1e-9:
            given = ", ".join(f"{fault.value}={share}" for fault, share in self.shares.items())
            raise ValueError(
                f"faults must be shares from 0 to 1 that add up to at most 1, got {given}"
            )

    @classmethod
    def even(cls, share: float) -> "FaultPlan":
        """Return a plan that divides `share` evenly among the kinds that a client can detect.

        Wrong answers and misdelivered ones are left out: a client cannot detect each of them from
        one response, and so must not be expected to retry. Name them in a plan to get them.

        Raises:
            ValueError: `share` is not a number from 0 to 1.
        """
        if not share:
            return cls({})
        if not 0 <= share <= 1:
            raise ValueError(f"faults must be a share from 0 to 1, got {share}")
        return cls({fault: share / len(_DETECTABLE) for fault in _DETECTABLE})

    @classmethod
    def parse(cls, text: str) -> "FaultPlan":
        """Parse '0.05', a share for `even`, or a list like 'reset-before=0.02,gzip-bomb=0.01'.

        Raises:
            ValueError: the text has another form, a fault is unknown or named twice, or a share is
                out of range.
        """
        if "=" not in text:
            return cls.even(_parse_share(text))
        shares: dict[Fault, float] = {}
        for part in text.split(","):
            name, _, share = part.partition("=")
            fault = _parse_fault(name.strip())
            if fault in shares:
                raise ValueError(f"faults must name {fault.value} only once, got {text!r}")
            shares[fault] = _parse_share(share)
        return cls(shares)

    def fault_at(self, point: float) -> Fault | None:
        """Return the fault whose interval contains `point`; the shares divide 0 to 1 in order."""
        for fault, share in self.shares.items():
            point -= share
            if point < 0:
                return fault
        return None


class Latency(NamedTuple):
    """Processing time of requests in seconds, uniform from mean - spread to mean + spread."""

    mean_s: float
    spread_s: float = 0

    @classmethod
    def parse(cls, text: str) -> "Latency":
        """Parse '50ms', '0.05s', '50ms±20ms' or '50ms+-20ms'.

        Raises:
            ValueError: the text has another form.
        """
        time = r"(\d+(?:\.\d+)?)(ms|s)"
        match = re.fullmatch(rf"{time}(?:(?:±|\+-){time})?", text, re.ASCII)
        if match is None:
            raise ValueError(
                f"latency must be written like '50ms', '0.05s' or '50ms±20ms', got {text!r}"
            )
        mean, unit, spread, spread_unit = match.groups(default="0")
        return cls(_to_seconds(mean, unit), _to_seconds(spread, spread_unit))


class Draw(NamedTuple):
    """Random latency and fault of one request.

    Attributes:
        fault: the fault; None for none.
        latency_s: the processing time in seconds.
        position: where in its list a wrong answer differs, as a fraction from 0 to below 1.
    """

    fault: Fault | None
    latency_s: float
    position: float = 0.0


class RandomTrace:
    """Source of the random draws of all requests, reproducible from the seed."""

    def __init__(self, faults: FaultPlan, latency: Latency, seed: int) -> None:
        self._faults = faults
        self._latency = latency
        self._seed = seed
        self._varies = any(faults.shares.values()) or latency.spread_s > 0
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def draw(self, method: str, target: str) -> Draw:
        """Draw for a request to `target`, its path and query as received."""
        mean_s, spread_s = self._latency
        if not self._varies:
            return Draw(None, mean_s)
        # A target may contain lone surrogates, which UTF-8 cannot encode.
        key = blake2b(f"{method} {target}".encode(errors="backslashreplace"), digest_size=16)
        text = f"{self._seed} {self._count_equal(key.digest())} {key.hexdigest()}"
        point, latency = hash_to_fractions(text)
        fault, latency_s = self._faults.fault_at(point), mean_s + spread_s * (2 * latency - 1)
        if fault is None or not fault.is_wrong_answer:
            return Draw(fault, latency_s)
        position, _ = hash_to_fractions(f"{text} place")
        return Draw(fault, latency_s, position)

    def _count_equal(self, key: bytes) -> int:
        """Count a request and return the number of equal requests before it."""
        count = self._seen.pop(key, 0)
        self._seen[key] = count + 1
        if len(self._seen) > _MAX_TARGETS:
            self._seen.popitem(last=False)
        return count


def hash_to_fractions(text: str) -> tuple[float, float]:
    """Return two pseudo-random numbers from 0 to below 1 that follow from the text."""
    digest = blake2b(text.encode(), digest_size=16).digest()
    # 53 bits, the precision of a float: more bits could be rounded up to 1.
    first, second = (int.from_bytes(half) >> 11 for half in (digest[:8], digest[8:]))
    return first / 2**53, second / 2**53


def _parse_fault(name: str) -> Fault:
    try:
        return Fault(name)
    except ValueError:
        allowed = ", ".join(fault.value for fault in Fault)
        raise ValueError(f"faults must be among {allowed}, got {name!r}") from None


def _parse_share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"faults must be written like 0.05 or reset-before=0.02,gzip-bomb=0.01, got {text!r}"
        ) from None


def _to_seconds(number: str, unit: str) -> float:
    return float(number) / (1000 if unit == "ms" else 1)
