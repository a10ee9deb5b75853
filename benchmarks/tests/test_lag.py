"""The heartbeat that measures the lag of an event loop."""

# ruff: noqa: PLR2004  a test states its expected figures in place

import asyncio
import time

import pytest

from benchmarks.harness.lag import Heartbeat, lags_of, percentile


def test_a_late_beat_counts_for_all_beats_that_were_missed() -> None:
    """A late beat also counts for those that were due while the loop was blocked."""
    assert lags_of(0.035, 0.01) == pytest.approx([0.035, 0.025, 0.015, 0.005])
    assert lags_of(0.005, 0.01) == [0.005]


def test_percentiles() -> None:
    """A percentile is the value that a share does not exceed; without a beat it is 0."""
    values = [float(value) for value in range(101)]
    assert (percentile(values, 0.99), percentile(values, 1), percentile([], 0.99)) == (99, 100, 0)


async def test_a_blocked_loop_has_a_lag() -> None:
    """A loop blocked for 50 ms has about that lag, even if the measurement ends then."""
    with Heartbeat(0.005) as heart:
        await asyncio.sleep(0.02)
        time.sleep(0.05)  # noqa: ASYNC251  it blocks on purpose
    assert percentile(heart.lags_s, 1) >= 0.04
    assert len(heart.lags_s) >= 8
