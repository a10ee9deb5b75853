"""Asyncio client of the Spot Billing Engine API: exact, bounded, paced pulls of cost analysis."""

from spot_billing_async._core.aio.deadline import deadline
from spot_billing_async._core.auth.credentials import TokenProvider
from spot_billing_async._core.http.config import ClientConfig, RetryPolicy
from spot_billing_async._core.http.tls import TlsConfig
from spot_billing_async._core.pacing.abc import SharedQuota
from spot_billing_async._core.protocol.rate_limit import RateLimit
from spot_billing_async.bulk.outcome import Failed, Fetched, PullReport, Unfinished
from spot_billing_async.bulk.plan import CostPlan
from spot_billing_async.bulk.run import PullRun
from spot_billing_async.client import SpotBillingClient, TenantClient
from spot_billing_async.errors import (
    ApiError,
    ArgumentError,
    AuthenticationError,
    ConfigError,
    ConflictError,
    DeadlineExceededError,
    DecodeError,
    InvalidRequestError,
    MissingExtraError,
    NotFoundError,
    OutageError,
    PermissionDeniedError,
    RateLimitedError,
    RequestLimitReachedError,
    ResponseTooLargeError,
    ServerError,
    SpotBillingError,
    TransportError,
)
from spot_billing_async.models import (
    AccountFamily,
    Acknowledgement,
    BillingAccount,
    CostItem,
    CostQuery,
    GroupBy,
    ResponseStatus,
)
from spot_billing_async.models.windows import DateWindow, WindowSize
from spot_billing_async.resources.accounts import AccountsResource, FamiliesResource
from spot_billing_async.resources.costs import CostsResource
from spot_billing_async.resources.setups import BillingEngineResource, CostIntelligenceResource
from spot_billing_async.telemetry import (
    AvailabilityChanged,
    CacheRead,
    CallEnded,
    Event,
    Hook,
    Phases,
    RequestEnded,
)
from spot_billing_async.version import __version__

__all__ = [
    "AccountFamily",
    "AccountsResource",
    "Acknowledgement",
    "ApiError",
    "ArgumentError",
    "AuthenticationError",
    "AvailabilityChanged",
    "BillingAccount",
    "BillingEngineResource",
    "CacheRead",
    "CallEnded",
    "ClientConfig",
    "ConfigError",
    "ConflictError",
    "CostIntelligenceResource",
    "CostItem",
    "CostPlan",
    "CostQuery",
    "CostsResource",
    "DateWindow",
    "DeadlineExceededError",
    "DecodeError",
    "Event",
    "Failed",
    "FamiliesResource",
    "Fetched",
    "GroupBy",
    "Hook",
    "InvalidRequestError",
    "MissingExtraError",
    "NotFoundError",
    "OutageError",
    "PermissionDeniedError",
    "Phases",
    "PullReport",
    "PullRun",
    "RateLimit",
    "RateLimitedError",
    "RequestEnded",
    "RequestLimitReachedError",
    "ResponseStatus",
    "ResponseTooLargeError",
    "RetryPolicy",
    "ServerError",
    "SharedQuota",
    "SpotBillingClient",
    "SpotBillingError",
    "TenantClient",
    "TlsConfig",
    "TokenProvider",
    "TransportError",
    "Unfinished",
    "WindowSize",
    "__version__",
    "deadline",
]
