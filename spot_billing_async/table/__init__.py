"""A Delta Lake table of costs that is kept in step with the API (extra: table).

```python
report = await sync(
    client, "costs", accounts=ids, from_date=first, to_date=last, group_by="service"
)
```
"""

from spot_billing_async.errors import MissingExtraError

try:
    # Asked for here, before any module uses them: the modules import both in no particular order.
    import deltalake as _deltalake  # noqa: F401  see above
    import pyarrow as _pa  # noqa: F401, ICN001  see above
except ImportError as _missing:
    raise MissingExtraError(
        f"a Delta table needs {_missing.name or 'deltalake'}: pip install '.[table]'"
    ) from _missing

from spot_billing_async.table.query import day_sums
from spot_billing_async.table.report import Change, DaySum, Difference, SyncPlan, SyncReport
from spot_billing_async.table.storage.delta import TableConflictError, TableError
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
