"""How long a day's costs are kept."""

from datetime import UTC, date, datetime, timedelta

import msgspec

from spot_billing_async.errors import ConfigError
from spot_billing_async.models import GroupBy
from spot_billing_async.models.validation import check_seconds
from spot_billing_async.models.windows import DateWindow, cut


def utc_now() -> datetime:
    """The moment it is."""
    return datetime.now(UTC)


class CachePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a day's costs are kept: long where its month is closed, else briefly.

    Attributes:
        closed_ttl_s: seconds that days of closed months are kept.
        mutable_ttl_s: seconds that all other days are kept, today and days to come included; and
            all days by family, as accounts may move to another family at any time.
        closes_after_days: a month is closed when more days than these have passed since its last
            one, by the UTC calendar. Until then its costs may still be restated.

    Raises:
        ConfigError: a value is out of its range; names the field, the value and what is allowed.
    """

    closed_ttl_s: float = 7 * 86_400.0
    mutable_ttl_s: float = 300.0
    closes_after_days: int = 45

    def __post_init__(self) -> None:
        check_seconds("policy.closed_ttl_s", self.closed_ttl_s)
        check_seconds("policy.mutable_ttl_s", self.mutable_ttl_s)
        if type(self.closes_after_days) is not int or self.closes_after_days < 0:
            raise ConfigError(
                f"policy.closes_after_days: {self.closes_after_days!r} is not allowed; "
                "allowed: a whole number from 0"
            )

    def ttl_s(self, day: date, group_by: GroupBy | None, now: datetime) -> float:
        """Seconds that the costs of a day are kept which were asked for at a moment."""
        if group_by == "family":
            return self.mutable_ttl_s
        month: DateWindow = next(cut(day, date.max, "month"))
        passed = now.astimezone(UTC).date() - month.to_date
        is_closed = passed > timedelta(days=self.closes_after_days)
        return self.closed_ttl_s if is_closed else self.mutable_ttl_s
