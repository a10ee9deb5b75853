"""The API as a server of its own, over FOCUS exports in an embedded DuckDB (extra: emulator).

It shares no code with the client's wire side, so that one bug can't hide on both ends.
"""

try:
    import duckdb as _duckdb  # noqa: F401 - asked for here, before any module uses it
except ImportError as error:
    raise ImportError(
        "the emulator needs duckdb: pip install 'spot-billing-async[emulator]'"
    ) from error

from spot_billing_async.emulator.chaos.randomness import Fault, FaultPlan, Latency
from spot_billing_async.emulator.chaos.rate_limit import RateLimit
from spot_billing_async.emulator.data.database import DatabaseError
from spot_billing_async.emulator.data.focus import FocusError
from spot_billing_async.emulator.server import Emulator

__all__ = [
    "DatabaseError",
    "Emulator",
    "Fault",
    "FaultPlan",
    "FocusError",
    "Latency",
    "RateLimit",
]
