"""Cache of costs with shared fetches: concurrent queries fetch each day of an account once.

```python
async with SpotBillingClient(cache=CostCache()) as client:
    ...
```
"""

from spot_billing_async.cache.costs import CostCache
from spot_billing_async.cache.policy import CachePolicy
from spot_billing_async.cache.store import LookupResult, MemoryStore, Store, Value

__all__ = ["CachePolicy", "CostCache", "LookupResult", "MemoryStore", "Store", "Value"]
