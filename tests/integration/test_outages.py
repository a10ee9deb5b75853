"""Outages over real sockets: pulls, syncs, single calls and the command line."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from spot_billing_async import (
    ClientConfig,
    ConfigError,
    CostPlan,
    CostQuery,
    DeadlineExceededError,
    Failed,
    OutageError,
    PullReport,
    RequestLimitReachedError,
    RetryPolicy,
    ServerError,
    SpotBillingClient,
    SpotBillingError,
)
from spot_billing_async.cache import CostCache
from spot_billing_async.table import sync
from tests.outages import (
    DAY,
    KINDS,
    TOKEN,
    FailingServer,
    Result,
    broken_plan,
    plan_of,
    pull,
)

FOREVER_S = 3600.0
FAST = RetryPolicy(max_attempts=2, backoff_base_s=0.01, backoff_cap_s=0.01)
SLICES = 120
WORKERS = 32


@asynccontextmanager
async def client_of(
    server: FailingServer, cache: CostCache | None = None, **limits: float
) -> AsyncIterator[SpotBillingClient]:
    config = ClientConfig(retry=FAST, **limits)  # type: ignore[arg-type]  # by name, checked there
    async with (
        server.serving() as base_url,
        SpotBillingClient(TOKEN, base_url=base_url, config=config, cache=cache) as client,
    ):
        yield client


async def drained(client: SpotBillingClient, plan: CostPlan, **limits: float) -> PullReport:
    """Pull a plan, and return its report."""
    async with client.costs.pull(plan, **limits) as run:  # type: ignore[arg-type]  # by name
        async for _ in run:
            pass
    report: PullReport = run.report
    return report


@pytest.mark.parametrize("away_s", [0.2, 2.0])
async def test_an_outage_of_any_kind_costs_no_slice(away_s: float) -> None:
    """Nothing is missing, and the server gets few requests while it is away."""
    servers = {kind: FailingServer(kind, away_s, first=40) for kind in KINDS}
    results = await asyncio.gather(*(pull(each, plan_of(SLICES)) for each in servers.values()))
    for kind, result in zip(servers, results, strict=True):
        assert result.failed == [], kind
        assert result.report.ok == SLICES, kind
        assert result.sent_while_away <= WORKERS + 20 + away_s, kind


async def broken(plan: list[CostQuery], **limits: float) -> Result:
    """Pull a plan from a server that is never away, but fails for the accounts `b…`."""
    accounts = {query.account_id for query in plan if query.account_id is not None}
    always = frozenset(each for each in accounts if each.startswith("b"))
    result = await pull(FailingServer("500", 0.0, -1, always), plan, **limits)
    queries = [failure.query for failure in result.failed]
    assert sorted(map(str, queries)) == sorted(str(q) for q in plan if q.account_id in always)
    assert {type(failure.error) for failure in result.failed} == {ServerError}
    # The last one follows a probe that succeeded.
    assert max(failure.attempts for failure in result.failed) <= 5
    return result


@pytest.mark.parametrize("workers", [3, WORKERS])
async def test_broken_accounts_are_no_outage(workers: int) -> None:
    """Two accounts that fail at the head of a plan fail alone, and nobody is told of an outage."""
    result = await broken(broken_plan(10, 2, 12), max_concurrency=workers)
    assert result.tries == []


@pytest.mark.parametrize("place", [0, 30, 60])
async def test_broken_slices_are_no_outage(place: int) -> None:
    """Ten slices that fail side by side fail alone, also as the first or the last ones."""
    plan = list(plan_of(60))
    plan[place:place] = [
        CostQuery(account_id=f"b{n}", from_date=DAY, to_date=DAY) for n in range(10)
    ]
    result = await broken(plan)
    assert result.tries == []


async def test_an_outage_that_does_not_end_fails_what_is_left() -> None:
    """After `outage_patience_s` every slice that is left fails at once, and says why."""
    server = FailingServer("503", FOREVER_S, first=20)
    result = await pull(server, plan_of(SLICES), outage_patience_s=0.4)
    assert result.report.ok + result.report.failed == SLICES
    assert result.report.failed > SLICES / 2
    # At the beginning of the outage, a slice may fail between two others that succeed.
    others = [each.error for each in result.failed if not isinstance(each.error, OutageError)]
    assert len(others) <= 2
    assert "the API has been unavailable for " in str(result.failed[-1].error)
    assert server.seen <= 20 + WORKERS + 20
    with pytest.raises(ConfigError, match="outage_patience_s"):
        ClientConfig(outage_patience_s=0)


async def test_the_deadline_of_a_pull_holds_in_an_outage() -> None:
    """Slices that wait for the API fail when the pull's own deadline passes."""
    server = FailingServer("refused", FOREVER_S, first=20)
    async with client_of(server) as client, client.costs.pull(plan_of(60), deadline_s=0.5) as run:
        failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
    assert {type(failure.error) for failure in failed} == {DeadlineExceededError}
    assert run.report.ok + len(failed) == 60


async def test_the_request_limit_of_a_pull_holds_in_an_outage() -> None:
    """Probes count in `max_requests`; without a request left nothing is waited for."""
    server = FailingServer("503", FOREVER_S, first=20)
    async with client_of(server) as client, client.costs.pull(plan_of(60), max_requests=36) as run:
        failed = [outcome async for outcome in run if isinstance(outcome, Failed)]
    assert RequestLimitReachedError in {type(failure.error) for failure in failed}
    assert run.report.requests == server.seen == 36


async def test_single_calls_do_not_wait_and_name_the_outage() -> None:
    """A single call ends after its own attempts; its error says for how long the API was away."""
    server = FailingServer("503", FOREVER_S, first=1)
    async with client_of(server) as client:
        errors: list[SpotBillingError] = []
        for number in range(6):
            with pytest.raises(ServerError) as caught:
                await client.costs.get(f"a{number}", DAY, DAY)
            errors.append(caught.value)
    assert [error.attempts for error in errors] == [2] * 6
    assert not any("unavailable" in note for note in errors[0].__notes__)
    assert "the API has been unavailable for" in errors[-1].__notes__[0]


async def test_a_failing_token_provider_pauses_a_pull() -> None:
    """Slices wait for the provider of their token, which is called a few times only."""
    calls = 0

    async def provider() -> str:
        nonlocal calls
        calls += 1
        if calls < 6:
            raise OSError("no identity service")
        return TOKEN

    server = FailingServer("500", 0.0, first=-1)
    async with server.serving() as base_url:
        config = ClientConfig(retry=FAST)
        async with SpotBillingClient(provider, base_url=base_url, config=config) as client:
            report = await drained(client, plan_of(60))
    assert report.complete
    assert calls == 6


async def test_a_single_call_does_not_wait_with_a_pull_for_a_shared_fetch() -> None:
    """A caller that shares the fetch of a slice asks the API itself if the slice is held back."""
    server = FailingServer("503", FOREVER_S, first=1)
    async with client_of(server, CostCache(), outage_patience_s=1.0) as client:
        pulling = asyncio.create_task(drained(client, plan_of(60)))
        await server.went_away.wait()
        calls = [client.costs.get(f"a{number}", DAY, DAY) for number in range(60)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {ServerError}
        assert not pulling.done()
        assert (await pulling).failed == 60


async def test_two_pulls_probe_one_at_a_time() -> None:
    """Pulls of one client share what is known of an outage, and its probes."""
    server = FailingServer("503", 1.0, first=40)
    async with client_of(server) as client:
        first, second = await asyncio.gather(
            drained(client, plan_of(60)),
            drained(client, CostPlan.build([f"c{n}" for n in range(60)], DAY, DAY, "whole")),
        )
    assert first.complete
    assert second.complete
    assert server.seen <= 120 + WORKERS + 20


async def test_a_sync_waits_for_an_outage(tmp_path: Path) -> None:
    """A sync fetches every day, although the API is away meanwhile."""
    server = FailingServer("502", 0.5, first=40)
    accounts = [f"a{number}" for number in range(60)]
    async with client_of(server) as client:
        report = await sync(
            client,
            tmp_path / "t",
            accounts=accounts,
            from_date=DAY,
            to_date=DAY + timedelta(days=2),
            window="day",
        )
    assert report.complete
    assert server.seen <= 180 + WORKERS + 20


async def test_a_sync_gives_up_once_after_an_outage(tmp_path: Path) -> None:
    """If the wait was in vain, all that is left fails at once, the reconciliation included."""
    server = FailingServer("503", FOREVER_S, first=30)
    accounts = [f"a{number}" for number in range(40)]
    async with client_of(server, outage_patience_s=0.4) as client:
        report = await sync(
            client,
            tmp_path / "t",
            accounts=accounts,
            from_date=DAY,
            to_date=DAY + timedelta(days=59),
            window="day",
            reconcile=True,
        )
    assert not report.complete
    assert {type(each.error) for each in report.failures} == {OutageError}
    assert report.not_started_days == 0
    assert {type(each.error) for each in report.unreconciled} == {OutageError}
    assert server.seen <= 30 + WORKERS + 20


@pytest.mark.parametrize("command", ["pull", "sync"])
async def test_the_command_line_says_that_it_waits(command: str, tmp_path: Path) -> None:
    """The command prints when the next try is, and that the API is back; nothing is missing."""
    server = FailingServer("503", 1.0, first=40)
    days = ("--from", str(DAY), "--to", str(DAY), "--window", "day", "--group-by", "service")
    out = ("--out", "o.jsonl") if command == "pull" else ("--table", "t")
    accounts = [word for number in range(80) for word in ("--account", f"a{number}")]
    async with server.serving() as base_url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "spot_billing_async.cli", "costs", command),
            *(*days, *out, *accounts),
            cwd=tmp_path,
            env={
                "PATH": "",
                "HOME": str(tmp_path),
                "PYTHONPATH": ":".join(filter(None, sys.path)),
                "SPOTINST_TOKEN": TOKEN,
                "SPOTINST_BASE_URL": base_url,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), 60)
    lines = err.decode().splitlines()
    assert process.returncode == 0, lines
    assert lines[0].startswith("the API is unavailable, next try in 0.")
    assert any(line.startswith("the API is available again after ") for line in lines)


async def test_too_wide_windows_are_no_outage_for_a_sync(tmp_path: Path) -> None:
    """A server that answers wide windows with 500 is probed with a day, and the sync narrows."""
    server = FailingServer("500", 0.0, first=-1, most_days=7)
    async with client_of(server, outage_patience_s=5.0) as client:
        report = await sync(
            client,
            tmp_path / "t",
            accounts=[f"a{number}" for number in range(12)],
            from_date=DAY,
            to_date=DAY + timedelta(days=13),
        )
    assert report.complete
