"""A Delta Lake table of costs that is kept in step with the API (extra: table).

```python
report = await sync(
    client, "costs", accounts=ids, from_date=first, to_date=last, group_by="service"
)
```
"""

# First, as it names the extra if a part of it is missing; other modules import the parts unguarded.
from spot_billing_async.table.storage.delta import TableConflictError, TableError

# isort: split
from spot_billing_async.table.query import day_sums
from spot_billing_async.table.report import Change, DaySum, Difference, SyncPlan, SyncReport
from spot_billing_async.table.sync import plan, sync

__all__ = [
    "Change",
    "DaySum",
    "Difference",
    "SyncPlan",
    "SyncReport",
    "TableConflictError",
    "TableError",
    "day_sums",
    "plan",
    "sync",
]
