"""Arguments of odd types and values: an error of this package, or they are accepted."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spot_billing_async import (
    ClientConfig,
    CostPlan,
    CostQuery,
    RetryPolicy,
    SpotBillingClient,
    SpotBillingError,
    TlsConfig,
)
from spot_billing_async.cache import CachePolicy, CostCache, MemoryStore
from spot_billing_async.export import open_writer
from spot_billing_async.redis import RedisQuota, RedisStore


class Vague:
    """A value that has no truth when it is compared, as an array."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array is ambiguous")

    def __hash__(self) -> int:
        return 1


WRONG: Any = [{}, "x"]
NUMBERS = st.sampled_from(
    [
        *(0, -1, 1, 2, True, 10**400, -(10**400), 2**63, 1e308, 5e-324),
        *(float("nan"), float("inf"), -0.0, 1.5, Decimal("NaN"), Decimal("sNaN"), Decimal(1), 1j),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *("a", "day", "service", "month", "-", "x.csv", "\0.csv", "a" * 300 + ".csv", ".jsonl"),
            *(
                "/no/such/x.parquet",
                "~nobody-x/x.csv",
                "\ud800.csv",
                "\ud800",
                "\0",
                "{",
                "%s",
                ".",
            ),
            *("https://a", "http://localhost", "https://[::1", "https://a:b", "https://a..b"),
            *(
                "https://" + "a" * 64,
                "http://127.1",
                "https://\u0661",
                "https://\ud800",
                "http://%",
            ),
            *("https://u:p@h", "redis://h", "redis://h:x", "redis://[", "rediss://u:p@h/x"),
        ]
    ),
)
DAYS = st.sampled_from(
    [
        *(
            dt.date.max,
            dt.date(9999, 12, 29),
            dt.datetime(9999, 12, 29, tzinfo=dt.UTC),
            dt.time(),
            dt.timedelta(1),
        ),
    ]
)
OBJECTS = st.sampled_from(
    [
        *(
            None,
            b"a",
            b"\xff",
            bytearray(b"a"),
            object(),
            int,
            Exception,
            len,
            lambda: "t",
            Vague(),
        ),
        *([], (), {}, set(), [[]], ["a"], [None], {"a": 1}, {"getCostAnalysis": "/x"}, range(3)),
        *({"getCostAnalysis": "{"}, {1: 2}, {"a": {}}, [Vague()], Path("x.csv"), Path(), ...),
        *(
            CostQuery(),
            CostQuery(account_id=WRONG[0]),
            CostQuery(from_date=WRONG[1]),
            [CostQuery(group_by=WRONG[0])],
        ),
        *(ClientConfig(), RetryPolicy(), TlsConfig(), CostCache(), MemoryStore(), asyncio.sleep),
    ]
)
ODD = st.one_of(OBJECTS, TEXTS, NUMBERS, DAYS, st.builds(iter, st.just([1])))

CONSTRUCTORS: dict[str, tuple[Callable[..., object], list[str]]] = {
    "client": (
        lambda **given: SpotBillingClient(**{"token": "not-a-real-token", **given}),
        [
            "token",
            "base_url",
            "account_id",
            "config",
            "session",
            "hook",
            "cache",
            "quota",
            "tenant",
        ],
    ),
    "config": (ClientConfig, list(ClientConfig.__struct_fields__)),
    "retry": (RetryPolicy, list(RetryPolicy.__struct_fields__)),
    "tls": (TlsConfig, list(TlsConfig.__struct_fields__)),
    "policy": (CachePolicy, list(CachePolicy.__struct_fields__)),
    "cache": (CostCache, ["store", "policy"]),
    "store": (MemoryStore, ["max_bytes"]),
    "redis store": (
        lambda **given: RedisStore(given.pop("url", "redis://h"), **given),
        ["url", "memory", "timeout_s", "lease_s"],
    ),
    "redis quota": (RedisQuota, ["url", "prefix", "timeout_s"]),
    "plan": (
        lambda **given: CostPlan.build(
            **{
                "accounts": ["a"],
                "from_date": dt.date(9999, 12, 1),
                "to_date": dt.date(9999, 12, 3),
                **given,
            }
        ),
        ["accounts", "from_date", "to_date", "window", "group_by"],
    ),
    "writer": (lambda path="x.csv": open_writer(path), ["path"]),
    "view": (
        lambda **given: SpotBillingClient("not-a-real-token").with_token(
            given.pop("token", "another-token"), **given
        ),
        ["token", "account_id", "tenant"],
    ),
}


@settings(max_examples=3 * settings().max_examples)
@given(st.sampled_from(sorted(CONSTRUCTORS)), st.data())
def test_constructors_raise_errors_of_this_package_only(kind: str, data: st.DataObject) -> None:
    """One or several odd arguments are refused by a `SpotBillingError`, or are accepted."""
    make, names = CONSTRUCTORS[kind]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3))
    given_ = {name: data.draw(ODD, name) for name in chosen}
    try:
        make(**given_)
    except SpotBillingError as error:
        str(error).encode("utf-8", "surrogatepass")


async def pulled(client: SpotBillingClient, given_: dict[str, Any]) -> None:
    async with client.costs.pull(**{"plan": [CostQuery(account_id="a")], **given_}) as run:
        async for _ in run:
            pass


Call = Callable[[SpotBillingClient, dict[str, Any]], Awaitable[object]]
VALIDATED = {"cloud_provider": "aws", "billing_account_id": "a"}
CALLS: dict[str, tuple[Call, list[str]]] = {
    "get": (
        lambda client, given_: client.costs.get(**given_),
        ["account_id", "from_date", "to_date", "group_by", "item_type"],
    ),
    "pull": (pulled, ["plan", "item_type", "ordered", "deadline_s", "max_requests"]),
    "list": (lambda client, given_: client.accounts.list(**given_), ["account_id"]),
    "setup": (
        lambda client, given_: client.billing_engine.setup(
            **{**VALIDATED, "bucket_name": "b", **given_}
        ),
        [*VALIDATED, "bucket_name"],
    ),
    "validate": (
        lambda client, given_: client.cost_intelligence.validate(**{**VALIDATED, **given_}),
        [*VALIDATED],
    ),
    "create": (
        lambda client, given_: client.families.create(**{"name": "n", **given_}),
        ["name", "description", "account_ids"],
    ),
    "update": (
        lambda client, given_: client.families.update(**{"family_id": "f", "name": "n", **given_}),
        ["family_id", "name", "description", "account_ids"],
    ),
    "one family": (
        lambda client, given_: client.families.get(**{"family_id": "f", **given_}),
        ["family_id"],
    ),
    "delete": (
        lambda client, given_: client.families.delete(**{"family_id": "f", **given_}),
        ["family_id"],
    ),
}


@settings(max_examples=2 * settings().max_examples)
@given(st.sampled_from(sorted(CALLS)), st.booleans(), st.data())
def test_calls_raise_errors_of_this_package_only(
    call: str, cached: bool, data: st.DataObject
) -> None:
    """Odd arguments of a call are refused by a `SpotBillingError` before anything is sent."""
    ask, names = CALLS[call]
    chosen = data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3))
    given_ = {name: data.draw(ODD, name) for name in chosen}

    async def main() -> None:
        async with SpotBillingClient(
            "not-a-real-token",
            base_url="http://127.0.0.1:1",  # where nothing listens
            config=ClientConfig(retry=RetryPolicy(max_attempts=1), deadline_s=5),
            cache=CostCache() if cached else None,
        ) as client:
            await ask(client, given_)

    try:
        asyncio.run(main())
    except SpotBillingError as error:
        str(error).encode("utf-8", "surrogatepass")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ODD)
def test_writers_raise_errors_of_this_package_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    """Opening a writer on an odd path, and entering it, raise a `SpotBillingError` or nothing."""
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        async with open_writer(path):
            pass

    try:
        asyncio.run(main())
    except SpotBillingError as error:
        str(error).encode("utf-8", "surrogatepass")
