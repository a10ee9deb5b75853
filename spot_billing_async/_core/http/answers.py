"""Memory of the way in which a server's answers agree with their queries, tenant by tenant."""

import anyio

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
    """What is known of a client's answers. Beyond a limit, the least recent is forgotten."""

    def __init__(self) -> None:
        self._accounts: dict[str, None] = {}
        self._tenants: dict[str, TenantAnswers] = {}

    def note_asked(self, account_id: str) -> None:
        """Remember that a query of any tenant names an account."""
        if account_id not in self._accounts:
            self._accounts[account_id] = None
            if len(self._accounts) > _MAX_ACCOUNTS:
                del self._accounts[next(iter(self._accounts))]

    def of_tenant(self, namespace: str) -> TenantAnswers:
        """Return what is known of a tenant's answers."""
        answers = self._tenants.pop(namespace, None) or TenantAnswers()
        self._tenants[namespace] = answers
        if len(self._tenants) > _MAX_TENANTS:
            del self._tenants[next(iter(self._tenants))]
        return answers

    def is_mixed_up(self, differs: Differences, account_id: str | None) -> bool:
        """Return whether rows name accounts of other queries in place of the query's own."""
        named = differs.get("account", frozenset())
        return account_id not in named and not named.isdisjoint(self._accounts)

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
