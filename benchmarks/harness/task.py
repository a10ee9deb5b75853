"""Tasks and measurements as lines of JSON, which processes with different interpreters exchange.

This module, and each module that a peer imports of this checkout, needs only the standard library.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

TOKEN = "t"  # noqa: S105  the canned server checks none; each peer sends one


@dataclass(frozen=True)
class Task:
    """Work for a peer's process.

    Attributes:
        base_url: the server's address.
        calls: number of responses to read.
        concurrency: number of concurrent calls.
        planned: slices of a pull's plan, where more are planned than read; 0 for `calls`.
        accounts: number of accounts among which the planned slices are divided.
        beat_s: seconds between two beats of the loop's heartbeat.
    """

    base_url: str
    calls: int
    concurrency: int = 16
    planned: int = 0
    accounts: int = 1
    beat_s: float = 0.005

    def to_json(self) -> str:
        """Return a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a line of JSON."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Measurement:
    """Cost of a task.

    Attributes:
        rows: decoded rows.
        cpu_s: CPU seconds of the process, of all its threads, in user mode and in the kernel.
        wall_s: seconds on the clock.
        peak_mib: peak of resident memory.
        lag_p99_ms: 99th percentile of the lag of the loop's timers.
        lag_worst_ms: largest lag; both are 0 without an event loop.
        extra: further values by name.
    """

    rows: int
    cpu_s: float
    wall_s: float
    peak_mib: float
    lag_p99_ms: float = 0.0
    lag_worst_ms: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return a line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a line of JSON."""
        return cls(**json.loads(text))


def day_of(call: int) -> str:
    """Return the day that a call requests, in ISO 8601; it differs from call to call."""
    return f"2018-10-{call % 28 + 1:02}"
