"""Parsing of parameters and bodies into values, or an error that lists all problems. Without I/O.

The contract defines types and allowed values, but hardly any required field. All further rules,
such as the name of a new family, are assumptions, each in one place below.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple, cast

import msgspec

from spot_billing_async.emulator.data.ledger import CostFilter
from spot_billing_async.emulator.responses import ErrorDetail, invalid_request
from spot_billing_async.models import CLOUD_PROVIDERS, GROUP_BY, GroupBy

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)

Query = Mapping[str, Sequence[str]]
"""Query parameters: all values for each name."""


class Setup(NamedTuple):
    """Billing account to set up; for Billing Engine with the bucket of its exports."""

    cloud_provider: str
    billing_account_id: str
    bucket: str | None


class SetupCheck(NamedTuple):
    """Setup to validate."""

    cloud_provider: str | None
    billing_account_id: str


class FamilyChange(NamedTuple):
    """Values of a new family, or changes of an existing one; None for values that are not given."""

    name: str | None
    description: str | None
    account_ids: tuple[str, ...] | None


class _Validator:
    """Reader of parameters that collects errors; invalid values are read as None."""

    def __init__(self) -> None:
        self.details: list[ErrorDetail] = []

    def add_error(self, field: str, message: str) -> None:
        self.details.append(ErrorDetail(field, f'"{field.rpartition(".")[2]}" {message}'))

    def raise_if_invalid(self) -> None:
        if self.details:
            raise invalid_request(*self.details)

    def single_value(self, query: Query, name: str) -> str | None:
        """Return the value of a parameter that must not be repeated."""
        values = query.get(name, ())
        if len(values) > 1:
            self.add_error(f"query.{name}", "must not be repeated")
        return require_utf8(values[0], f"query.{name}") if len(values) == 1 else None

    def account_id(self, query: Query) -> str | None:
        account_id = self.single_value(query, "accountId")
        if account_id == "":
            self.add_error("query.accountId", "is not allowed to be empty")
        return account_id

    def iso_date(self, query: Query, name: str) -> date | None:
        text = self.single_value(query, name)
        if text is None:
            return None
        try:
            if _ISO_DATE.fullmatch(text):
                return date.fromisoformat(text)
        except ValueError:
            pass
        self.add_error(f"query.{name}", "must be a date as YYYY-MM-DD")
        return None

    def optional_text(self, fields: Mapping[str, Any], path: str, name: str) -> str | None:
        value = fields.get(name)
        if name in fields and not isinstance(value, str):
            self.add_error(f"{path}.{name}", "must be a string")
            return None
        return value

    def required_text(self, fields: Mapping[str, Any], path: str, name: str) -> str:
        """Return a text that is required and must not be empty."""
        value = self.optional_text(fields, path, name)
        if name not in fields:
            self.add_error(f"{path}.{name}", "is required")
        elif value == "":
            self.add_error(f"{path}.{name}", "is not allowed to be empty")
        return value or ""


def require_utf8(text: str, field: str) -> str:
    """Return `text`, or raise a 400 if it contains lone surrogates.

    Bytes of a URL that are not valid UTF-8 are received as lone surrogates.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid_request(ErrorDetail(field, "is not UTF-8")) from None
    return text


def parse_account_filter(query: Query) -> str | None:
    """Return the account id that restricts `GET /billingEngine/account`, or None."""
    validator = _Validator()
    account_id = validator.account_id(query)
    validator.raise_if_invalid()
    return account_id


def parse_cost_filter(query: Query) -> CostFilter:
    """Parse the parameters of `GET /billingEngine/cost`."""
    validator = _Validator()
    account_id = validator.account_id(query)
    from_date = validator.iso_date(query, "fromDate")
    to_date = validator.iso_date(query, "toDate")
    if from_date is not None and to_date is not None and from_date > to_date:
        validator.add_error("query.fromDate", 'must not be after "toDate"')
    group_by = validator.single_value(query, "groupBy")
    if group_by is not None and group_by not in GROUP_BY:
        validator.add_error("query.groupBy", f"must be one of [{', '.join(GROUP_BY)}]")
    validator.raise_if_invalid()
    return CostFilter(account_id, from_date, to_date, cast("GroupBy | None", group_by))


def parse_page_start(query: Query, total_count: int, page_size: int) -> int:
    """Return the index at which the page of `paginationKey` begins; 0 without a key."""
    validator = _Validator()
    key = validator.single_value(query, "paginationKey")
    start = 0
    if key is not None:
        start = int(key) if re.fullmatch(r"[1-9]\d{0,17}", key, re.ASCII) else -1
        if not 0 < start < total_count or start % page_size:
            validator.add_error("query.paginationKey", "is not a key of this list")
    validator.raise_if_invalid()
    return start


def parse_setup(body: bytes, product: str) -> Setup:
    """Parse the body of a setup call of `billingEngine` or `costIntelligence`."""
    validator = _Validator()
    fields = _body_fields(body, product)
    path = f"body.{product}"
    cloud_provider = validator.required_text(fields, path, "cloudProvider")
    if cloud_provider and cloud_provider not in CLOUD_PROVIDERS:
        validator.add_error(
            f"{path}.cloudProvider", f"must be one of [{', '.join(CLOUD_PROVIDERS)}]"
        )
    billing_account_id = validator.required_text(fields, path, "billingAccountId")
    bucket = (
        validator.required_text(fields, path, "bucketName") if product == "billingEngine" else None
    )
    validator.raise_if_invalid()
    return Setup(cloud_provider, billing_account_id, bucket)


def parse_setup_check(body: bytes, product: str) -> SetupCheck:
    """Parse the body of a validation call of `billingEngine` or `costIntelligence`."""
    validator = _Validator()
    fields = _body_fields(body, product)
    cloud_provider = validator.optional_text(fields, f"body.{product}", "cloudProvider")
    billing_account_id = validator.required_text(fields, f"body.{product}", "billingAccountId")
    validator.raise_if_invalid()
    return SetupCheck(cloud_provider, billing_account_id)


def parse_new_family(body: bytes) -> FamilyChange:
    """Parse the body that creates a family; the name is required."""
    validator = _Validator()
    fields = _body_fields(body, "family")
    validator.required_text(fields, "body.family", "name")
    return _parse_family(validator, fields)


def parse_family_change(body: bytes) -> FamilyChange:
    """Parse the body that updates a family; values that are not given do not change."""
    validator = _Validator()
    fields = _body_fields(body, "family")
    if "name" in fields:
        validator.required_text(fields, "body.family", "name")
    return _parse_family(validator, fields)


def _parse_family(validator: _Validator, fields: Mapping[str, Any]) -> FamilyChange:
    description = validator.optional_text(fields, "body.family", "description")
    account_ids = fields.get("accountIds")
    if "accountIds" in fields and not isinstance(account_ids, list):
        validator.add_error("body.family.accountIds", "must be an array")
    for index, account_id in enumerate(account_ids if isinstance(account_ids, list) else ()):
        if not isinstance(account_id, str):
            validator.add_error(f"body.family.accountIds[{index}]", "must be a string")
    validator.raise_if_invalid()
    # A repeated id counts once.
    unique = None if account_ids is None else tuple(dict.fromkeys(account_ids))
    return FamilyChange(fields.get("name"), description, unique)


def _body_fields(body: bytes, name: str) -> Mapping[str, Any]:
    """Return the object in the field `name` of a body."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise invalid_request(ErrorDetail("body", f"is not JSON: {error}")) from None
    if not isinstance(content, dict):
        raise invalid_request(ErrorDetail("body", '"body" must be an object'))
    if name not in content:
        raise invalid_request(ErrorDetail(f"body.{name}", f'"{name}" is required'))
    fields = content[name]
    if not isinstance(fields, dict):
        raise invalid_request(ErrorDetail(f"body.{name}", f'"{name}" must be an object'))
    return fields
