"""What a process is asked to do, and what it says of it: plain JSON, as each has its interpreter.

This module, and what each peer imports of this checkout, needs the standard library alone.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Self

TOKEN = "t"  # noqa: S105  the canned server asks for none; each peer sends one


@dataclass(frozen=True)
class Task:
    """A job for a process.

    Attributes:
        base_url: where the server is.
        calls: how many answers to take.
        concurrency: how many at once.
        planned: slices of a pull's plan, where more are planned than taken; 0 for as many.
        accounts: accounts among which the planned slices are.
        beat_s: seconds between beats of the loop's heart.
    """

    base_url: str
    calls: int
    concurrency: int = 16
    planned: int = 0
    accounts: int = 1
    beat_s: float = 0.005

    def text(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """The task of a line of JSON."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Measured:
    """What a job took.

    Attributes:
        rows: rows that came, typed.
        cpu_s: seconds of the process's CPU, all its threads, in user mode and in the kernel.
        wall_s: seconds on the clock.
        peak_mib: most memory that was resident, in MiB.
        lag_p99_ms: what 99 of 100 timers of the loop were late by at most, in milliseconds.
        lag_worst_ms: what the latest was late by; both 0 where there is no loop.
        extra: what else the job has to say, by name.
    """

    rows: int
    cpu_s: float
    wall_s: float
    peak_mib: float
    lag_p99_ms: float = 0.0
    lag_worst_ms: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)

    def text(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, text: str) -> Self:
        """What a line of JSON says."""
        return cls(**json.loads(text))


def day_of(call: int) -> str:
    """The day that a call asks for, in ISO 8601: they differ, as they would."""
    return f"2018-10-{call % 28 + 1:02}"
