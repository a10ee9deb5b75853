"""What the processes of an organization share through Redis (extra: redis).

`RedisStore`: costs that one of them fetched are there for all. `RedisQuota`: they pace as one.
"""

from spot_billing_async.errors import MissingExtraError

try:
    import redis as _redis  # noqa: F401  asked for here, before any module uses it
except ImportError as error:
    raise MissingExtraError(
        "spot_billing_async.redis needs an extra: pip install 'spot-billing-async[redis]'"
    ) from error

from spot_billing_async.redis.quota import RedisQuota
from spot_billing_async.redis.store import RedisStore

__all__ = ["RedisQuota", "RedisStore"]
