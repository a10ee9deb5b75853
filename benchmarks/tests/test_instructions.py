"""Instruction counts, without a counter."""

from pathlib import Path

import pytest

from benchmarks.harness import instructions
from benchmarks.harness.instructions import package_environment
from benchmarks.harness.processes import PeerError
from benchmarks.parts.instructions import per_call


def test_a_checkout_without_the_package_is_refused(tmp_path: Path) -> None:
    """The error for a checkout without the package names package and folder."""
    with (
        pytest.raises(PeerError, match=f"no package spot_billing_async in {tmp_path}"),
        package_environment(tmp_path),
    ):
        pass


def test_a_machine_without_counters_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine needs neither perf nor valgrind: it then has no counter."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert instructions.available_counter() is None


@pytest.mark.parametrize(
    ("output", "count"),
    [
        ("# started on Mon\n\n1234567,,instructions:u,5000,100.00,,\n", 1_234_567),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("", None),
    ],
)
def test_the_output_of_perf_is_parsed(output: str, count: int | None) -> None:
    """The count of perf is read; a machine without hardware counters has none."""
    assert instructions.perf_count(output) == count


def test_the_fixed_cost_of_a_task_cancels_out() -> None:
    """A warm-up is skipped, and a disturbed repeat changes the spread only."""
    few, many = 1_000 + 64 * 5, 1_000 + 192 * 5
    found = per_call(iter([0, few, many, few, many + 128]), 64, 192, repeats=2)
    assert found == (5, 0.2)
