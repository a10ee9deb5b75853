"""State that all views of a client share."""

import asyncio
import time
from collections.abc import Callable

from spot_billing_async._core.aio.deadline import DeadlineTimer
from spot_billing_async._core.aio.tasks import TurnQueue
from spot_billing_async._core.auth.credentials import CredentialRegistry
from spot_billing_async._core.http.answers import AnswerMemory
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.retry import RetryBudget
from spot_billing_async._core.http.transport import Transport
from spot_billing_async._core.pacing.abc import SharedQuota
from spot_billing_async._core.pacing.admission import Admission
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.pacing.registry import LimiterRegistry
from spot_billing_async._core.protocol.operations import OPERATIONS
from spot_billing_async.errors import CLIENT_IS_IN_ANOTHER_LOOP, CLIENT_IS_NOT_OPEN, ConfigError
from spot_billing_async.telemetry import Hook


class SharedState:
    """Connections, limits, timers, retry budget and credentials of a client and its views.

    Args:
        config: limits, and the connection to the server.
        base_url: checked base URL of the server.
        transport: connections to the server; this object opens and closes it.
        hook: receives an event for each request and call; None for none.
        quota: rate limit that is shared with other processes; None for this process alone.

    Attributes:
        paths: path template of each operation, by operationId, overrides included.
        admission: queue of the calls that wait for a permit.
        timer: ends calls at their deadlines.
        decode_turns: queue of the calls whose response takes long to decode.
        retry_budget: retries of all calls.
        limiters: one limiter for each credential and operation.
        credentials: one credential for each token provider.
        answers: what is known of the way in which answers agree with their queries.
    """

    def __init__(
        self,
        config: ClientConfig,
        base_url: str,
        transport: Transport,
        hook: Hook | None,
        quota: SharedQuota | None,
    ) -> None:
        self.config: ClientConfig = config
        self.base_url: str = base_url
        self.hook: Hook | None = hook
        self.clock: Callable[[], float] = time.monotonic
        templates = {name: operation.path for name, operation in OPERATIONS.items()}
        self.paths: dict[str, str] = templates | dict(config.path_overrides)
        self.transport: Transport = transport
        self.retry_budget: RetryBudget = RetryBudget(config.retry)
        self.limiters: LimiterRegistry = LimiterRegistry(
            lambda namespace, operation_id: (
                RouteLimiter(config.retry.backoff_base_s)
                if quota is None
                else quota.limiter(
                    f"{namespace} {base_url} {operation_id}", deadline_s=config.deadline_s
                )
            ),
            self.clock,
        )
        self.credentials: CredentialRegistry = CredentialRegistry()
        self.answers: AnswerMemory = AnswerMemory()
        self._quota = quota
        self._loop: asyncio.AbstractEventLoop | None = None
        self._renew()

    def _renew(self) -> None:
        """Make the objects of one event loop, anew each time the client is entered."""
        limit = ConcurrencyLimit(self.config.max_concurrency)
        self.admission: Admission = Admission(limit, self.clock)
        self.timer: DeadlineTimer = DeadlineTimer(self.clock)
        self.decode_turns: TurnQueue = TurnQueue()

    async def open(self) -> None:
        """Open the connections, and join the shared quota.

        Raises:
            ConfigError: the client is open already, or a file or a proxy cannot be used.
        """
        await self.transport.open()
        self._loop = asyncio.get_running_loop()
        self._renew()
        if self._quota is not None:
            try:
                await self._quota.open(self.admission, self.clock)
            except BaseException:
                await self._close_connections()
                raise

    async def close(self) -> None:
        """End the calls that wait for a permit, close the connections, and leave the quota."""
        try:
            await self._close_connections()
        finally:
            if self._quota is not None:
                await self._quota.close()

    async def _close_connections(self) -> None:
        self.admission.close()
        self.timer.close()
        await self.transport.close()

    def require_open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raise unless a call in this event loop can be sent.

        Raises:
            ConfigError: the client is not entered, or was entered in another loop, or the caller's
                session is closed.
        """
        if self.transport.session is None or self.transport.session.closed:
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        if loop is not self._loop:
            raise ConfigError(CLIENT_IS_IN_ANOTHER_LOOP)
