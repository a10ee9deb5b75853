"""Shared fetches: each day of an account's costs is asked for once, by whoever needs it first.

```python
async with SpotBillingClient(cache=CostCache()) as client:
    ...
```
"""

from spot_billing_async.cache.costs import CostCache
from spot_billing_async.cache.policy import CachePolicy
from spot_billing_async.cache.store import LookupResult, MemoryStore, Store, Value

__all__ = ["CachePolicy", "CostCache", "LookupResult", "MemoryStore", "Store", "Value"]
