"""Reports of pulls."""

import pytest

from spot_billing_async import PullReport


@pytest.mark.parametrize(
    ("ok", "empty", "complete"),
    [(3, 0, True), (0, 3, True), (2, 1, True), (2, 0, False), (0, 0, False), (1, 1, False)],
)
def test_a_pull_is_complete_if_every_slice_was_fetched(ok: int, empty: int, complete: bool) -> None:
    """Slices without rows count as fetched; one that failed or was not fetched does not."""
    report = PullReport(
        planned=3,
        ok=ok,
        empty=empty,
        failed=3 - ok - empty,
        cancelled=0,
        not_started=0,
        rows=ok,
        totals={},
        requests=3,
        retries=0,
        elapsed_s=0.0,
    )
    assert report.complete is complete
    assert report.refusals == 0
