"""Claims about tables in miniature: a restated bill, and thousands of rows."""

# ruff: noqa: PLR2004  a test states its expected figures in place

from pathlib import Path

import pytest

from benchmarks.claims import refresh, rows
from tests.support_real_bill import real_bill_files


def test_a_refresh_finds_exactly_what_was_restated(tmp_path: Path) -> None:
    """Changes are found by account and day, with both totals, by one request per account."""
    if not (bills := real_bill_files()):
        pytest.skip("the real bill is not beside this checkout")
    found = refresh.measure(bills, 4, tmp_path, by_day=False)
    assert len(found.restated) == 2
    assert (found.missed, found.invented) == (set(), set())
    assert found.is_right
    assert found.refresh.requests == 4
    assert 0 < found.costs.removed < found.costs.before


def test_a_sync_in_another_process_brings_every_row(tmp_path: Path) -> None:
    """The process returns its row count, after it has checked the total, and its peak memory."""
    with rows.server() as base_url:
        result = rows.run_sync(base_url, str(tmp_path / "costs"), 40_000)
    assert result.rows == 40_000
    assert result.peak_mib > 0
