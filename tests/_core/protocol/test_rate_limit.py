"""Rate limits in headers."""

import pytest
from multidict import CIMultiDict

from spot_billing_async._core.protocol.rate_limit import (
    Quota,
    RateLimit,
    read_quota,
    retry_after_s,
)

NAMES = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")


@pytest.mark.parametrize(
    ("values", "quota"),
    [
        (("100", "99", "60"), Quota(100, 99, 60.0)),
        (("1", "0", "0"), Quota(1, 0, 0.0)),
        (("100.9", "5.9", "0.5"), Quota(100, 5, 0.5)),
        (("0", "0", "1"), Quota(None, 0, 1.0)),
        (("0.5", "0", "1"), Quota(None, 0, 1.0)),
        (("-1", "3", "1"), Quota(None, 3, 1.0)),
        (("100", None, "60"), Quota()),
        (("100", "-1", "60"), Quota()),
        (("100", "x", "60"), Quota()),
        ((None, "7", None), Quota(None, 7, None)),
        (("100", "7", "3600"), Quota(100, 7, 3600.0)),
        (("100", "7", "3600.5"), Quota(100, 7, None)),
        (("100", "7", "1700000000"), Quota(100, 7, None)),
        (("inf", "7", "nan"), Quota(None, 7, None)),
    ],
)
def test_a_quota_has_the_valid_headers(values: tuple[str | None, ...], quota: Quota) -> None:
    """Each header is read by itself; without a remaining number none means anything."""
    headers = CIMultiDict(
        {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}
    )
    assert read_quota(headers) == quota


@pytest.mark.parametrize(("reset", "wait_s"), [("0", 0.0), ("3600", 3600.0), ("3601", None)])
def test_a_reset_of_more_than_an_hour_is_no_wait(reset: str, wait_s: float | None) -> None:
    """A reset is a wait of up to an hour; anything larger is a point in time."""
    assert retry_after_s(CIMultiDict({"X-RateLimit-Reset": reset}), limited=True) == wait_s
    assert retry_after_s(CIMultiDict({"Retry-After": "86400"}), limited=True) == 86400.0


@pytest.mark.parametrize("header", ["86401", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_retry_after_of_more_than_a_day_is_capped(header: str) -> None:
    """Callers are told a wait of a day at most."""
    headers = CIMultiDict({"Retry-After": header, "Date": "Fri, 01 Jan 2021 00:00:00 GMT"})
    assert retry_after_s(headers, limited=False) == 86400.0


@pytest.mark.parametrize(
    ("requests", "least_s"), [(0, 0), (1, 0), (20, 0), (21, 60), (40, 60), (41, 120), (200, 540)]
)
def test_the_least_time_of_some_requests(requests: int, least_s: float) -> None:
    """The first window's requests are sent at once, and each further window takes its length."""
    assert RateLimit(20, 60.0).least_s(requests) == least_s
