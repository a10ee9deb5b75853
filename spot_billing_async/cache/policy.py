"""Lifetime of cached costs."""

from datetime import UTC, date, datetime, timedelta

import msgspec

from spot_billing_async.models import GroupBy
from spot_billing_async.models.validation import check_count, check_seconds
from spot_billing_async.models.windows import DateWindow, cut


def utc_now() -> datetime:
    """Return the current time, in UTC."""
    return datetime.now(UTC)


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Lifetimes of a day's costs: long for closed months, short for all other days.

    Attributes:
        closed_ttl_s: seconds that days of closed months are kept. Default: 7 days.
        mutable_ttl_s: seconds that all other days are kept, including today and future days; also
            all days grouped by family, as an account can move to another family at any time.
            Default: 300.
        closes_after_days: a month is closed when more than this number of days have passed since
            its last day, in UTC. Until then its costs may be restated. Default: 45.
    """

    closed_ttl_s: float = 7 * 86_400.0
    mutable_ttl_s: float = 300.0
    closes_after_days: int = 45

    def __post_init__(self) -> None:
        check_seconds("policy.closed_ttl_s", self.closed_ttl_s)
        check_seconds("policy.mutable_ttl_s", self.mutable_ttl_s)
        check_count("policy.closes_after_days", self.closes_after_days, minimum=0)

    def ttl_s(self, day: date, group_by: GroupBy | None, now: datetime) -> float:
        """Return the seconds for which costs of `day` that were requested at `now` are kept."""
        if group_by == "family":
            return self.mutable_ttl_s
        month: DateWindow = next(cut(day, date.max, "month"))
        passed = now.astimezone(UTC).date() - month.to_date
        is_closed = passed > timedelta(days=self.closes_after_days)
        return self.closed_ttl_s if is_closed else self.mutable_ttl_s
