"""Cache and quota that the processes of an organization share through Redis (extra: redis).

With `RedisStore`, costs fetched by one process are available to all. With `RedisQuota`, all
processes pace their requests as one.
"""

from spot_billing_async.errors import MissingExtraError

try:
    import redis as _redis  # noqa: F401  fails here, before any module of this package imports it
except ImportError as _missing:
    raise MissingExtraError(
        "spot_billing_async.redis needs redis: pip install '.[redis]'"
    ) from _missing

from spot_billing_async.redis.quota import RedisQuota
from spot_billing_async.redis.store import RedisStore

__all__ = ["RedisQuota", "RedisStore"]
