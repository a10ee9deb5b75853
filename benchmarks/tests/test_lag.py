"""The heartbeat that measures how late a loop is."""

import asyncio
import time

import pytest

from benchmarks.harness.lag import Heartbeat, lags_of, percentile


def test_a_standstill_counts_for_all_beats_that_fell_into_it() -> None:
    """One late beat stands for those that could not even become due."""
    assert lags_of(0.035, 0.01) == pytest.approx([0.035, 0.025, 0.015, 0.005])
    assert lags_of(0.005, 0.01) == [0.005]


def test_percentiles() -> None:
    """The value that a share does not exceed; a run too short for a beat has none."""
    values = [float(value) for value in range(101)]
    assert (percentile(values, 0.99), percentile(values, 1), percentile([], 0.99)) == (99, 100, 0)


async def test_a_blocked_loop_is_seen() -> None:
    """Who blocks the loop for 50 ms finds a lag of about that, even where the block ends then."""
    with Heartbeat(0.005) as heart:
        await asyncio.sleep(0.02)
        time.sleep(0.05)  # noqa: ASYNC251  what is to be seen
    assert percentile(heart.lags_s, 1) >= 0.04
    assert len(heart.lags_s) >= 8
