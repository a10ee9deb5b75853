"""Lifetime of cached costs."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ConfigError
from spot_billing_async.cache import CachePolicy

POLICY = CachePolicy(closed_ttl_s=1000.0, mutable_ttl_s=10.0, closes_after_days=5)


@pytest.mark.parametrize(
    ("today", "ttl_s"),
    [
        (date(2024, 2, 10), 10.0),
        (date(2024, 3, 5), 10.0),
        (date(2024, 3, 6), 1000.0),
        (date(2024, 1, 1), 10.0),
    ],
)
def test_a_month_is_closed_some_days_after_its_end(today: date, ttl_s: float) -> None:
    """Days of a closed month have the long lifetime; all others, also future ones, the short."""
    now = datetime.combine(today, datetime.min.time(), UTC)
    assert POLICY.ttl_s(date(2024, 2, 1), None, now) == ttl_s
    assert POLICY.ttl_s(date(2024, 2, 29), None, now) == ttl_s


def test_costs_by_family_have_the_short_lifetime() -> None:
    """Costs by family are never closed, because an account can move to another family."""
    now = datetime(2024, 3, 6, tzinfo=UTC)
    assert POLICY.ttl_s(date(2024, 2, 1), "service", now) == 1000.0
    assert POLICY.ttl_s(date(2024, 2, 1), "family", now) == 10.0


def test_days_pass_by_the_utc_calendar() -> None:
    """The time zone of the clock does not change whether a month is closed."""
    midnight = datetime(2024, 3, 6, tzinfo=UTC)
    west = midnight.astimezone(timezone(timedelta(hours=-8)))
    east = (midnight - timedelta(minutes=1)).astimezone(timezone(timedelta(hours=8)))
    assert POLICY.ttl_s(date(2024, 2, 1), None, west) == 1000.0
    assert POLICY.ttl_s(date(2024, 2, 1), None, east) == 10.0


@given(day=st.dates(), now=st.datetimes(timezones=st.just(UTC)))
def test_every_day_has_a_lifetime(day: date, now: datetime) -> None:
    """Every day has one of the two lifetimes, and today has the short one."""
    assert POLICY.ttl_s(day, None, now) in {10.0, 1000.0}
    assert POLICY.ttl_s(now.date(), None, now) == 10.0


@pytest.mark.parametrize(
    "values",
    [
        {"closed_ttl_s": 0},
        {"mutable_ttl_s": -1.0},
        {"mutable_ttl_s": float("inf")},
        {"closes_after_days": -1},
        {"closes_after_days": True},
        {"closes_after_days": 1.5},
    ],
)
def test_invalid_values_are_named(values: dict[str, Any]) -> None:
    """The error for an invalid lifetime names the field and what is allowed."""
    (name,) = values
    with pytest.raises(ConfigError, match=rf"policy\.{name}.*must be"):
        CachePolicy(**values)
