"""Emulator of the API: an HTTP server over FOCUS exports in an embedded DuckDB (extra: emulator).

It shares no code with the client's HTTP and protocol layers: a bug cannot hide on both ends.
"""

from spot_billing_async.errors import MissingExtraError

try:
    import duckdb as _duckdb  # noqa: F401  imported first, so that the error below names the extra
except ImportError as _missing:
    raise MissingExtraError("the emulator needs duckdb: pip install '.[emulator]'") from _missing

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
