"""Memory of the way in which a server's answers agree with their queries, tenant by tenant."""

import anyio

from spot_billing_async._core.auth.recent import RecentlyUsed
from spot_billing_async._core.protocol.pagination import Differences
from spot_billing_async.telemetry import MismatchKind

_MAX_ACCOUNTS = 100_000
_MAX_TENANTS = 1_000


class TenantAnswers:
    """Answers that one tenant got.

    Attributes:
        agreed: kinds in which an answer has agreed with its query.
        differing: kinds in which the server differs on purpose, as it did so twice for one query.
        trial: held by the call that finds this out, so that the others need not ask again.
    """

    __slots__ = ("agreed", "differing", "trial")

    def __init__(self) -> None:
        self.agreed: set[MismatchKind] = set()
        self.differing: set[MismatchKind] = set()
        self.trial = anyio.Lock()


class AnswerMemory:
    """Knowledge of a client's answers. Beyond a limit, the least recent is forgotten."""

    def __init__(self) -> None:
        self._accounts: RecentlyUsed[str, None] = RecentlyUsed(_MAX_ACCOUNTS)
        self._tenants: RecentlyUsed[str, TenantAnswers] = RecentlyUsed(_MAX_TENANTS)

    def note_asked(self, account_id: str | None) -> None:
        """Remember the account that a query of any tenant names; None for none."""
        key = "" if account_id is None else account_id.casefold()
        if key not in self._accounts:
            self._accounts.use(key, None)

    def of_tenant(self, namespace: str) -> TenantAnswers:
        """Return what is known of a tenant's answers."""
        answers = self._tenants.get(namespace) or TenantAnswers()
        self._tenants.use(namespace, answers)
        return answers

    def is_mixed_up(self, differs: Differences, account_id: str | None) -> bool:
        """Return whether rows name accounts of other queries: a mix-up, or counted twice."""
        named = {each.casefold() for each in differs.get("account", ())}
        return not (named - {(account_id or "").casefold()}).isdisjoint(self._accounts)

    def contested(self, namespace: str, found: Differences, account_id: str | None) -> Differences:
        """Note what agrees, and return the differences but for ids that the server is known to use.

        Args:
            namespace: the tenant's.
            found: what an answer says in place of what was asked; nothing where it agrees.
            account_id: account that was asked for; None for none.
        """
        answers = self.of_tenant(namespace)
        differs: dict[MismatchKind, frozenset[str]] = {}
        for kind, said in found.items():
            if not said:
                answers.agreed.add(kind)
            elif (
                kind != "account"
                or kind not in answers.differing
                or self.is_mixed_up(found, account_id)
            ):
                differs[kind] = said
        return differs
