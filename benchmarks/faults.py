"""A pull through faults of every kind: `python -m benchmarks.faults`, shorter with `--quick`.

The real bill, day by day for each of its two accounts over a thousand days, is 2,000 slices: on 122
of them there are costs. At 5 % faults each slice has to come and the total has to be exact. At
100 % nearly all fail; then the pull has to end in time, without burying the server under retries.
"""

import asyncio
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from benchmarks.bill import ACCOUNTS, FIRST_DAY, LAST_DAY, TOTAL, real_bill
from benchmarks.opponent import TOKEN, opponent
from spot_billing_async import ClientConfig, CostPlan, Failed, PullReport, SpotBillingClient
from spot_billing_async.emulator.chance import Chance, Fault, FaultPlan, Latency

DAYS = 1000
DEADLINE_S = 60.0
SEEDS = (1, 2, 3, 4, 5, 6, 7)
DIMENSIONS = ("account", "service", "region", "family", None)
# The real answers are far smaller, and a gzip bomb is far larger.
CONFIG = ClientConfig(max_response_bytes=2**20)


class Figures(NamedTuple):
    """What a pull came to."""

    report: PullReport
    errors: Counter[str]

    @property
    def requests_a_slice(self) -> float:
        """Requests sent, for one that was planned."""
        return self.report.requests / self.report.planned

    @property
    def missing(self) -> int:
        """Slices that are neither ok nor empty."""
        return self.report.planned - self.report.ok - self.report.empty

    @property
    def adds_up(self) -> bool:
        """Each slice is in one state, and the run handed all of them over."""
        report = self.report
        return report.planned == report.ok + report.empty + report.failed
