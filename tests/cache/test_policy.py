"""How long a day's costs are kept."""

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
def test_a_month_is_closed_so_many_days_after_its_last(today: date, ttl_s: float) -> None:
    """Days of a closed month are kept long, all others briefly, those to come too."""
    now = datetime.combine(today, datetime.min.time(), UTC)
    assert POLICY.ttl_s(date(2024, 2, 1), None, now) == ttl_s
    assert POLICY.ttl_s(date(2024, 2, 29), None, now) == ttl_s


def test_a_breakdown_by_family_is_kept_briefly() -> None:
    """However old its days are: an account may have moved to another family since."""
    now = datetime(2024, 3, 6, tzinfo=UTC)
    assert POLICY.ttl_s(date(2024, 2, 1), "service", now) == 1000.0
    assert POLICY.ttl_s(date(2024, 2, 1), "family", now) == 10.0


def test_days_pass_by_the_utc_calendar() -> None:
    """Where a month is closed does not depend on the zone of the clock."""
    midnight = datetime(2024, 3, 6, tzinfo=UTC)
    west = midnight.astimezone(timezone(timedelta(hours=-8)))
    east = (midnight - timedelta(minutes=1)).astimezone(timezone(timedelta(hours=8)))
    assert POLICY.ttl_s(date(2024, 2, 1), None, west) == 1000.0
    assert POLICY.ttl_s(date(2024, 2, 1), None, east) == 10.0


@given(day=st.dates(), now=st.datetimes(timezones=st.just(UTC)))
def test_every_day_has_a_time(day: date, now: datetime) -> None:
    """Any day of the calendar is kept for one time or the other; today's for the short one."""
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
def test_a_bad_value_is_refused(values: dict[str, Any]) -> None:
    """The error names the field and what is allowed."""
    (name,) = values
    with pytest.raises(ConfigError, match=f"policy.{name}.*(allowed|, got )"):
        CachePolicy(**values)
