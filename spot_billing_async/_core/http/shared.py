"""State that all views of a client share."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Hashable
from weakref import WeakValueDictionary

from spot_billing_async._core.aio.deadline import DeadlineTimer
from spot_billing_async._core.aio.recent import RecentlyUsed
from spot_billing_async._core.aio.tasks import TurnQueue
from spot_billing_async._core.auth.credentials import Credential
from spot_billing_async._core.http.answers import AnswerMemory
from spot_billing_async._core.http.attempt import AttemptWatch
from spot_billing_async._core.http.config import ClientConfig
from spot_billing_async._core.http.retry import RetryBudget
from spot_billing_async._core.http.transport import Transport
from spot_billing_async._core.pacing.abc import Limiter, SharedQuota
from spot_billing_async._core.pacing.admission import Admission
from spot_billing_async._core.pacing.concurrency import ConcurrencyLimit
from spot_billing_async._core.pacing.limiter import RouteLimiter
from spot_billing_async._core.pacing.outage import Outages
from spot_billing_async._core.protocol.operations import OPERATIONS
from spot_billing_async.errors import CLIENT_IS_IN_ANOTHER_LOOP, CLIENT_IS_NOT_OPEN, ConfigError
from spot_billing_async.telemetry import Hook

_log = logging.getLogger("spot_billing_async")

_LOWERED_S = 10.0  # until as many connections as before are tried again
_MAX_LIMITERS = 10_000  # a backend serves many tenants, with a new view for each request
_MAX_CREDENTIALS = 1_000

_forks: list[None] = []  # an entry for each fork that led to this process; getpid is a system call
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=lambda: _forks.append(None))


class SharedState:
    """Connections, limits, timers, retry budget and credentials of a client and its views.

    It opens and closes the transport, and the quota if one is shared with other processes.

    Limiters and provided credentials are kept beyond their use once the API has accepted the token,
    the most recently used first: nothing remains of a token that it never accepted.
    """

    def __init__(
        self,
        config: ClientConfig,
        base_url: str,
        transport: Transport,
        hook: Hook | None,
        quota: SharedQuota | None,
        *,
        has_cache: bool,
    ) -> None:
        self.config: ClientConfig = config
        self.base_url: str = base_url
        self.hook: Hook | None = hook
        self.clock: Callable[[], float] = time.monotonic
        templates = {name: operation.path for name, operation in OPERATIONS.items()}
        self.paths: dict[str, str] = templates | dict(config.path_overrides)  # by operationId
        self.transport: Transport = transport
        self.retry_budget: RetryBudget = RetryBudget(config.retry)
        # Keys of the credentials that the API refused most recently, without a later success.
        self.refused: RecentlyUsed[Hashable, None] = RecentlyUsed(_MAX_LIMITERS if has_cache else 0)
        self._limiters: WeakValueDictionary[tuple[str, str], Limiter] = WeakValueDictionary()
        self._kept_limiters: RecentlyUsed[tuple[str, str], Limiter] = RecentlyUsed(_MAX_LIMITERS)
        self._credentials: WeakValueDictionary[Hashable, Credential] = WeakValueDictionary()
        self._kept_credentials: RecentlyUsed[Hashable, Credential] = RecentlyUsed(_MAX_CREDENTIALS)
        self.answers: AnswerMemory = AnswerMemory()
        self.outages: Outages = Outages(self.clock, hook, config.max_concurrency)
        self._quota = quota
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fork_count = 0
        self._lacked_files = False

    def unified(self, credential: Credential) -> Credential:
        """Return the known credential of the same token provider, else this one."""
        if not credential.is_provided:
            return credential
        return self._credentials.setdefault(credential.key, credential)

    def limiter(self, namespace: str, operation_id: str) -> Limiter:
        """Return the limiter of a credential's requests for an operation."""
        limiter = self._limiters.get((namespace, operation_id))
        if limiter is None:
            limiter = self._limiters[namespace, operation_id] = (
                RouteLimiter(self.config.retry.backoff_base_s)
                if self._quota is None
                else self._quota.limiter(
                    f"{namespace} {self.base_url} {operation_id}", deadline_s=self.config.deadline_s
                )
            )
        return limiter

    def keep(self, credential: Credential, operation_id: str, limiter: Limiter) -> None:
        """Keep what is known of a token and its quota, as the API has accepted it."""
        limiter.on_accepted()
        self._kept_limiters.use((credential.namespace, operation_id), limiter)
        if credential.is_provided:
            self._kept_credentials.use(credential.key, credential)

    def _renew(self) -> None:
        """Make the objects of one event loop, anew each time the client is entered."""
        limit = ConcurrencyLimit(self.config.max_concurrency)
        self.admission: Admission = Admission(limit, self.clock)
        self.timer: DeadlineTimer = DeadlineTimer()
        self.attempts: AttemptWatch = AttemptWatch(self.config, self.retry_budget, self.outages)
        self.answers.renew()
        self.outages.by_scope.clear()
        self.outages.notify()  # with an event that belongs to no loop yet
        self.decode_turns: TurnQueue = TurnQueue()  # of responses that take long to decode

    def lower_concurrency(self) -> bool:
        """Limit requests to those in flight, as too many files are open; False if none are."""
        limit, configured = self.admission.limit, self.config.max_concurrency
        if not limit.in_flight:
            return False
        if limit.maximum == configured:
            asyncio.get_running_loop().call_later(_LOWERED_S, setattr, limit, "maximum", configured)
            if not self._lacked_files:
                _log.warning("too many open files: at most %d requests at once", limit.in_flight)
        limit.maximum, self._lacked_files = limit.in_flight, True
        return True

    async def open(self) -> None:
        """Open the connections, and join the shared quota.

        Raises:
            ConfigError: the client is open already, or a file or a proxy cannot be used.
        """
        await self.transport.open()
        self._loop, self._fork_count = asyncio.get_running_loop(), len(_forks)
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

    def require_open(self, task: "asyncio.Task[object] | None") -> "asyncio.Task[object]":
        """Return the task; raise `ConfigError` unless the client is open in its loop and process.

        A forked child that keeps the loop would read from its parent's connections.
        """
        if self.transport.session is None or self.transport.session.closed:
            raise ConfigError(CLIENT_IS_NOT_OPEN)
        if task is None or task.get_loop() is not self._loop or len(_forks) != self._fork_count:
            raise ConfigError(CLIENT_IS_IN_ANOTHER_LOOP)
        return task
