"""Accounts: the contract's tag 'Billing Accounts'."""

from spot_billing_async._core.http.call import call
from spot_billing_async._core.http.session import SessionManager
from spot_billing_async._core.protocol.operations import LIST_ACCOUNTS
from spot_billing_async.models import BillingAccount
from spot_billing_async.models.validation import checked_id


class AccountsResource:
    """Accounts registered with Billing Engine: `client.accounts`."""

    def __init__(self, session: SessionManager) -> None:
        self._session = session

    async def list(self, account_id: str | None = None) -> list[BillingAccount]:
        """Return the accounts registered with Billing Engine.

        Args:
            account_id: return only this account. None returns all accounts, also if the client has
                an account of its own.

        Raises:
            ArgumentError: `account_id` is not an id; nothing was sent.
            SpotBillingError: the call failed.
        """
        query = None if account_id is None else {"accountId": checked_id("account_id", account_id)}
        answer = await call(self._session, LIST_ACCOUNTS, BillingAccount, query=query)
        return answer.items
