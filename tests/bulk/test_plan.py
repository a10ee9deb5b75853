"""Plans of pulls."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import BillingAccount, ConfigError, CostPlan, CostQuery

FROM, TO = date(2018, 10, 1), date(2018, 11, 30)


def build(**changed: Any) -> CostPlan:
    return CostPlan.build(**{"accounts": ["a"], "from_date": FROM, "to_date": TO, **changed})


def test_a_plan_is_accounts_times_windows() -> None:
    """A plan holds all windows of an account, then those of the next account."""
    plan = build(accounts=["a", "b"], group_by="service")
    assert list(plan) == [
        CostQuery(account_id=a, from_date=start, to_date=end, group_by="service")
        for a in ("a", "b")
        for start, end in ((FROM, date(2018, 10, 31)), (date(2018, 11, 1), TO))
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_plan_is_a_sequence(accounts: int, days: int, data: st.DataObject) -> None:
    """Length, iteration, indexing from both ends, and slicing agree."""
    plan = build(
        accounts=[f"a{i}" for i in range(accounts)], to_date=date(2018, 10, days), window="day"
    )
    queries = list(plan)
    assert len(plan) == len(queries) == len(set(queries)) == accounts * days
    index = data.draw(st.integers(-len(plan), len(plan) - 1))
    assert plan[index] == queries[index]
    assert plan[index:] == queries[index:]
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_a_large_plan_is_not_expanded() -> None:
    """A plan of a million slices computes each query on access and keeps no list."""
    plan = build(accounts=(f"a{i}" for i in range(10_000)), to_date=date(2019, 1, 8), window="day")
    assert len(plan) == 1_000_000
    assert plan[-1].account_id == "a9999"


def test_duplicate_accounts_are_dropped() -> None:
    """An account that is given twice is planned once, because its costs would count twice."""
    assert build(accounts=["b", "a", "b"]).accounts == ("b", "a")


def test_accounts_may_be_any_iterable_of_ids() -> None:
    """Any iterable of ids is accepted, and ids keep leading zeros and slashes."""
    ids = ["011254002932", "/subscriptions/x"]
    listed = [BillingAccount(account_id=i) for i in ids]
    assert build(accounts=(account.account_id for account in listed)).accounts == tuple(ids)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"accounts": []}, "accounts must hold at least one account id, got none"),
        ({"accounts": "abc"}, "accounts must be a list of ids, got 'abc'"),
        (
            {"accounts": ["a", ""]},
            r"accounts\[1\] must be a non-empty string of printable text, got ''",
        ),
        ({"accounts": [None]}, r"accounts\[0\] must be .*, got None"),
        ({"accounts": [7]}, r"accounts\[0\] must be .*, got 7"),
        ({"accounts": 7}, "accounts must be a list of ids, got 7"),
        ({"accounts": ["a\r\nb"]}, r"accounts\[0\] must be .*, got 'a\\r\\nb'"),
        (
            {"from_date": date(2018, 12, 1)},
            "from_date must be on or before to_date 2018-11-30, got 2018-12-01",
        ),
        (
            {"from_date": datetime(2018, 10, 1, tzinfo=UTC)},
            "from_date must be a datetime.date without a time, got ",
        ),
        ({"to_date": "2018-11-30"}, "to_date must be a datetime.date .* got '2018-11-30'"),
        ({"to_date": None}, "to_date must be a datetime.date .* got None"),
        ({"from_date": None}, "from_date must be a datetime.date .* got None"),
        ({"from_date": "2018-10-01"}, "from_date must be a datetime.date .* got '2018-10-01'"),
        (
            {"group_by": "tag"},
            "group_by must be one of 'account', 'service', .* or None, got 'tag'",
        ),
        ({"group_by": ["service"]}, r"group_by must be one of .*, got \['service'\]"),
        (
            {"window": "year"},
            "window must be one of 'day', 'week', .* or an integer >= 1, got 'year'",
        ),
        ({"window": 0}, "window must be .*, got 0$"),
        ({"window": True}, "window must be .*, got True"),
        ({"window": 1.5}, "window must be .*, got 1.5"),
    ],
)
def test_invalid_arguments_are_named(changed: dict[str, Any], message: str) -> None:
    """The error for an invalid plan names the argument, what is allowed and the value."""
    with pytest.raises(ConfigError, match=message):
        build(**changed)
