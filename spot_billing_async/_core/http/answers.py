"""Memory of the kinds in which a server's responses agree with their queries, by tenant."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from spot_billing_async._core.aio.recent import RecentlyUsed
from spot_billing_async._core.protocol.pagination import Differences
from spot_billing_async.telemetry import MismatchKind

_MAX_ACCOUNTS = 100_000
_MAX_TENANTS = 1_000
_TRIAL_S = 5.0  # a request that hangs must not hold up every call of the tenant


class TenantAnswers:
    """State of one tenant's comparisons."""

    def __init__(self) -> None:
        # Kinds in which a response has agreed with its query, ...
        self.agreed: set[MismatchKind] = set()
        # ... and kinds in which the server differed twice for one query: its habit.
        self.differing: set[MismatchKind] = set()
        self.lock: anyio.Lock = anyio.Lock()

    @asynccontextmanager
    async def trial(self) -> AsyncIterator[None]:
        """Let one call at a time find out how the server answers; others wait a few seconds."""
        with anyio.move_on_after(_TRIAL_S) as waiting:
            await self.lock.acquire()
        try:
            yield
        finally:
            if not waiting.cancelled_caught:
                self.lock.release()


class AnswerMemory:
    """Knowledge of a client's responses, of bounded size."""

    def __init__(self) -> None:
        self._accounts: RecentlyUsed[str, None] = RecentlyUsed(_MAX_ACCOUNTS)
        self._tenants: RecentlyUsed[str, TenantAnswers] = RecentlyUsed(_MAX_TENANTS)

    def renew(self) -> None:
        """Make the locks of another event loop; one may be held by a task of the last loop."""
        for answers in self._tenants.values():
            answers.lock = anyio.Lock()

    def of_tenant(self, namespace: str) -> TenantAnswers:
        """Return what is known of a tenant's responses."""
        answers = self._tenants.get(namespace) or TenantAnswers()
        self._tenants.use(namespace, answers)
        return answers

    def note_asked(self, account_id: str) -> None:
        """Remember an account that a query of any tenant named, and that has rows."""
        key = account_id.casefold()
        if key not in self._accounts:  # the first ones are forgotten first; `use` takes longer
            self._accounts.use(key, None)

    def is_mixed_up(self, differs: Differences, account_id: str | None) -> bool:
        """Return whether rows name accounts that other queries asked for."""
        named = {each.casefold() for each in differs.get("account", ())}
        return not (named - {(account_id or "").casefold()}).isdisjoint(self._accounts)

    def contested(
        self, answers: TenantAnswers, found: Differences, account_id: str | None
    ) -> Differences:
        """Record the kinds that agree; return the differences, without ids the server always uses.

        `found` is what `compare` returned for a query of `account_id`.
        """
        differs: dict[MismatchKind, frozenset[str]] = {}
        has_own_ids = "account" in answers.differing and not self.is_mixed_up(found, account_id)
        for kind, said in found.items():
            if not said:
                answers.agreed.add(kind)
                if kind != "account":
                    answers.differing.discard(kind)
            elif kind != "account" or not has_own_ids:
                differs[kind] = said
        return differs
