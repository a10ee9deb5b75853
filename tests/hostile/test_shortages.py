"""Processes that lack something: memory, threads, an extra, the real clock."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec
import pytest

from spot_billing_async import (
    ClientConfig,
    CostItem,
    CostPlan,
    Fetched,
    RetryPolicy,
    SpotBillingClient,
    TransportError,
)
from spot_billing_async._core.auth.secret import Secret
from spot_billing_async._core.protocol.decoder import ItemDecoder
from spot_billing_async.bulk.records import json_lines
from spot_billing_async.cache.codec import codec_for
from spot_billing_async.export import ExportError, open_writer

NO_THREAD = RuntimeError("can't start new thread")


def raising(error: Exception) -> Callable[..., Any]:
    async def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "sent", "message"),
    [(MemoryError(), True, "out of memory"), (NO_THREAD, False, "no thread can be started")],
)
async def test_a_shortage_is_no_mistake_in_the_configuration(
    monkeypatch: pytest.MonkeyPatch, error: Exception, sent: bool, message: str
) -> None:
    """A request that finds no memory or no thread fails with a `TransportError`."""
    monkeypatch.setattr(aiohttp.ClientSession, "_request", raising(error))
    config = ClientConfig(retry=RetryPolicy(max_attempts=1))
    async with SpotBillingClient("not-a-real-token", config=config) as client:
        with pytest.raises(TransportError, match=message) as caught:
            await client.accounts.list()
    assert caught.value.sent is sent


async def test_no_thread_to_read_files_in_is_an_error_of_this_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Entering a client or a writer without a free thread raises no `RuntimeError`."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", raising(NO_THREAD))
    with pytest.raises(TransportError, match="no thread"):
        async with SpotBillingClient("not-a-real-token", config=ClientConfig(trust_env=True)):
            pass
    with pytest.raises(ExportError, match="thread"):
        async with open_writer(tmp_path / "x.csv"):
            pass


def test_the_emulator_without_duckdb_names_its_extra() -> None:
    """Importing the emulator without DuckDB raises a `MissingExtraError`."""
    code = """
import sys
sys.modules["duckdb"] = None
from spot_billing_async import MissingExtraError
try:
    import spot_billing_async.emulator
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run(  # noqa: S603  this interpreter
        [sys.executable, "-c", code],
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install '.[emulator]'" in done.stdout, done.stderr


class _Frozen(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL)


_REAL = dt.date


class FrozenDate(dt.date, metaclass=_Frozen):
    """A date that stands in for `datetime.date`, as freezegun's does."""


class FrozenRow(msgspec.Struct):
    """An item type that is decoded first while the clock is frozen."""

    date: dt.date
    cost: int


def test_the_first_decode_may_happen_while_the_clock_is_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A decoder that is made under a replaced `datetime.date` knows which fields are days."""
    with monkeypatch.context() as frozen:
        frozen.setattr(dt, "date", FrozenDate)
        decoder = ItemDecoder(CostItem, True)
        codec = codec_for(FrozenRow)
    assert codec is not None
    body = b'{"response":{"items":[{"cost":1,"date":"2018-10-01T00:00:00Z"}]}}'
    envelope = decoder.decode("getCostAnalysis", body, Secret("not-a-real-token"))
    assert envelope.response is not None
    assert isinstance(envelope.response.items, list)
    assert envelope.response.items[0].date == _REAL(2018, 10, 1)


def test_days_of_a_subclass_are_exported() -> None:
    """JSON lines hold the days of a query whose dates are of a subclass of `date`."""
    day = FrozenDate(2018, 10, 1)
    (query,) = CostPlan.build(["a"], day, day)
    line = json_lines([Fetched(query, [CostItem(cost=1)], None, 1, 0.0)])  # type: ignore[arg-type]  # int
    assert b'"query_from":"2018-10-01"' in line
