"""Pure: parameters and bodies as they came -> values, or a refusal that lists all that is wrong.

The contract gives types and says what is allowed; it demands next to nothing. What else is demanded
here, such as the name of a new family, are assumptions, each in one place below.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, cast

import msgspec

from spot_billing_async.emulator.data.ledger import CostFilter
from spot_billing_async.emulator.responses import Entry, invalid
from spot_billing_async.models import CLOUD_PROVIDERS, GROUP_BY, GroupBy

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Query = Mapping[str, Sequence[str]]
"""Query parameters: every value that came for a name."""


class Setup(NamedTuple):
    """A cloud's billing account to be set up; for Billing Engine with the bucket of its exports."""

    cloud_provider: str
    billing_account_id: str
    bucket: str | None


class SetupCheck(NamedTuple):
    """Which setup is to be validated."""

    cloud_provider: str | None
    billing_account_id: str


class FamilyChange(NamedTuple):
    """What a call says of a family; None where it says nothing."""

    name: str | None
    description: str | None
    account_ids: tuple[str, ...] | None


class _Findings:
    """What is wrong so far; values that are wrong read as None."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, field: str, message: str) -> None:
        self.entries.append(Entry(field, f'"{field.rpartition(".")[2]}" {message}'))

    def refuse(self) -> None:
        if self.entries:
            raise invalid(*self.entries)

    def single(self, query: Query, name: str) -> str | None:
        """The value of a parameter that must not come twice."""
        values = query.get(name, ())
        if len(values) > 1:
            self.add(f"query.{name}", "must not be repeated")
        return clean_text(values[0], f"query.{name}") if len(values) == 1 else None

    def account(self, query: Query) -> str | None:
        account_id = self.single(query, "accountId")
        if account_id == "":
            self.add("query.accountId", "is not allowed to be empty")
        return account_id

    def day(self, query: Query, name: str) -> date | None:
        text = self.single(query, name)
        if text is None:
            return None
        try:
            if _ISO_DATE.fullmatch(text):
                return date.fromisoformat(text)
        except ValueError:
            pass
        self.add(f"query.{name}", "must be a date as YYYY-MM-DD")
        return None

    def text(self, fields: Mapping[str, Any], path: str, name: str) -> str | None:
        value = fields.get(name)
        if name in fields and not isinstance(value, str):
            self.add(f"{path}.{name}", "must be a string")
            return None
        return value

    def filled(self, fields: Mapping[str, Any], path: str, name: str) -> str:
        """A text that is demanded, and must not be empty."""
        value = self.text(fields, path, name)
        if name not in fields:
            self.add(f"{path}.{name}", "is required")
        elif value == "":
            self.add(f"{path}.{name}", "is not allowed to be empty")
        return value or ""


def clean_text(text: str, field: str) -> str:
    """Refuse text that is no Unicode: bytes of a URL that are no UTF-8 come as lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(Entry(field, "is not UTF-8")) from None
    return text


def account_filter(query: Query) -> str | None:
    """The account that `GET /billingEngine/account` is narrowed to."""
    found = _Findings()
    account_id = found.account(query)
    found.refuse()
    return account_id


def cost_filter(query: Query) -> CostFilter:
    """What `GET /billingEngine/cost` asks for."""
    found = _Findings()
    account_id = found.account(query)
    from_date = found.day(query, "fromDate")
    to_date = found.day(query, "toDate")
    if from_date is not None and to_date is not None and from_date > to_date:
        found.add("query.fromDate", 'must not be after "toDate"')
    group_by = found.single(query, "groupBy")
    if group_by is not None and group_by not in GROUP_BY:
        found.add("query.groupBy", f"must be one of [{', '.join(GROUP_BY)}]")
    found.refuse()
    return CostFilter(account_id, from_date, to_date, cast("GroupBy | None", group_by))


def page_start(query: Query, total_count: int, page_size: int) -> int:
    """Where the page begins that `paginationKey` leads to: at the first item without one."""
    found = _Findings()
    key = found.single(query, "paginationKey")
    start = 0
    if key is not None:
        start = int(key) if re.fullmatch(r"[1-9]\d{0,17}", key, re.ASCII) else -1
        if not 0 < start < total_count or start % page_size:
            found.add("query.paginationKey", "is not a key that this list gave")
    found.refuse()
    return start


def setup(body: bytes, product: str) -> Setup:
    """The body of a setup call of `billingEngine` or `costIntelligence`."""
    found = _Findings()
    fields = _fields(body, product)
    path = f"body.{product}"
    cloud_provider = found.filled(fields, path, "cloudProvider")
    if cloud_provider and cloud_provider not in CLOUD_PROVIDERS:
        found.add(f"{path}.cloudProvider", f"must be one of [{', '.join(CLOUD_PROVIDERS)}]")
    billing_account_id = found.filled(fields, path, "billingAccountId")
    bucket = found.filled(fields, path, "bucketName") if product == "billingEngine" else None
    found.refuse()
    return Setup(cloud_provider, billing_account_id, bucket)


def setup_check(body: bytes, product: str) -> SetupCheck:
    """The body of a validation call of `billingEngine` or `costIntelligence`."""
    found = _Findings()
    fields = _fields(body, product)
    cloud_provider = found.text(fields, f"body.{product}", "cloudProvider")
    billing_account_id = found.filled(fields, f"body.{product}", "billingAccountId")
    found.refuse()
    return SetupCheck(cloud_provider, billing_account_id)


def new_family(body: bytes) -> FamilyChange:
    """The body that creates a family; it must be named."""
    found = _Findings()
    fields = _fields(body, "family")
    found.filled(fields, "body.family", "name")
    return _family(found, fields)


def family_change(body: bytes) -> FamilyChange:
    """The body that updates a family; what it leaves out stays as it is."""
    found = _Findings()
    fields = _fields(body, "family")
    if "name" in fields:
        found.filled(fields, "body.family", "name")
    return _family(found, fields)


def _family(found: _Findings, fields: Mapping[str, Any]) -> FamilyChange:
    description = found.text(fields, "body.family", "description")
    account_ids = fields.get("accountIds")
    if "accountIds" in fields:
        for entry in _account_id_faults(account_ids):
            found.add(*entry)
    found.refuse()
    # An id named twice is one account.
    unique = None if account_ids is None else tuple(dict.fromkeys(account_ids))
    return FamilyChange(fields.get("name"), description, unique)


def _account_id_faults(account_ids: object) -> Iterator[tuple[str, str]]:
    if not isinstance(account_ids, list):
        yield "body.family.accountIds", "must be an array"
        return
    for position, account_id in enumerate(account_ids):
        if not isinstance(account_id, str):
            yield f"body.family.accountIds[{position}]", "must be a string"


def _fields(body: bytes, name: str) -> Mapping[str, Any]:
    """The object that a body wraps in the one field `name`."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise invalid(Entry("body", f"is not JSON: {error}")) from None
    if not isinstance(content, dict):
        raise invalid(Entry("body", '"body" must be an object'))
    if name not in content:
        raise invalid(Entry(f"body.{name}", f'"{name}" is required'))
    fields = content[name]
    if not isinstance(fields, dict):
        raise invalid(Entry(f"body.{name}", f'"{name}" must be an object'))
    return fields
