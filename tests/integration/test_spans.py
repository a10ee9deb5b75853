"""Spans and metrics of pulls over real sockets."""

from datetime import date

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.semconv.attributes import url_attributes

from spot_billing_async import ClientConfig, CostPlan, RetryPolicy, SpotBillingClient
from spot_billing_async.emulator import Emulator
from tests.exported import Exported, assert_tree, attribute, children, id_of

TOKEN = "8f1d0c7ab2e94563-not-a-real-token"
FROM, TO = date(2025, 1, 1), date(2025, 3, 31)
PATIENT = ClientConfig(retry=RetryPolicy(max_attempts=20, backoff_base_s=0.001))
REQUESTS = "http.client.request.duration"


async def test_a_pull_through_faults_is_recorded_completely() -> None:
    """Each request that the server saw is one span and one measurement; the report agrees."""
    exported = Exported()
    async with (
        Emulator(token=TOKEN, faults=0.1, seed=7, page_size=97) as server,
        SpotBillingClient(
            TOKEN, base_url=server.base_url, config=PATIENT, hook=exported.hook()
        ) as client,
    ):
        accounts = [account.account_id for account in await client.accounts.list()]
        before = len(exported.requests)
        async with client.costs.pull(CostPlan.build(accounts, FROM, TO, "month")) as run:
            async for _ in run:
                pass
        assert server.requests == len(exported.requests)
    report = run.report
    assert report.complete
    assert_tree(exported)
    costs = {"spot_billing.operation_id": "getCostAnalysis"}
    assert report.requests == len(exported.requests) - before
    assert report.retries == exported.total("spot_billing.retries", costs) > 0
    assert report.rows == exported.total("spot_billing.rows", costs)
    assert report.planned == exported.counted("spot_billing.call.duration", costs)
    assert exported.counted(REQUESTS) == len(exported.requests)


async def test_refusals_are_counted() -> None:
    """Metrics count as many refusals as the report, and the wait for the quota has a phase."""
    exported = Exported()
    plan = CostPlan.build(["011254002932"], FROM, date(2025, 1, 12), "day")
    async with (
        Emulator(token=TOKEN, rate_limit="4/0.3s", rate_limit_headers=False) as server,
        SpotBillingClient(TOKEN, base_url=server.base_url, hook=exported.hook()) as client,
        client.costs.pull(plan) as run,
    ):
        async for _ in run:
            pass
    assert run.report.complete
    assert run.report.refusals == exported.total("spot_billing.refusals") > 0
    refused = {"http.response.status_code": 429, "error.type": "RateLimitedError"}
    assert exported.counted(REQUESTS, refused) == run.report.refusals
    assert exported.total("spot_billing.phase.duration", {"spot_billing.phase": "paced"}) > 0


async def test_spans_of_slices_are_children_of_the_entering_span() -> None:
    """Spans of slices are children of the span that is current when the run is entered."""
    exported = Exported()
    tracer = exported.tracers.get_tracer("caller")
    async with (
        Emulator(token=TOKEN, latency="2ms") as server,
        SpotBillingClient(
            TOKEN, base_url=server.base_url, hook=exported.hook(identify_accounts=True)
        ) as client,
    ):
        accounts = [account.account_id for account in await client.accounts.list()]
        plan = CostPlan.build(accounts, FROM, TO, "month")
        with tracer.start_as_current_span("entered") as entered:
            run = await client.costs.pull(plan).__aenter__()
        with tracer.start_as_current_span("read"):
            outcomes = [outcome async for outcome in run]
        await run.__aexit__(None, None, None)
    assert len(outcomes) == len(plan) == 72
    children_of = children(exported.spans)
    assert isinstance(entered, ReadableSpan)
    slices = children_of[id_of(entered)]
    assert sorted(map(_parameters, slices)) == sorted(
        (str(query.account_id), str(query.from_date)) for query in plan
    )
    for span in slices:
        (request,) = children_of[id_of(span)]
        account_id, from_date = _parameters(span)
        url = str(attribute(request, url_attributes.URL_FULL))
        assert f"accountId={account_id}&fromDate={from_date}" in url.replace("%2F", "/")


def _parameters(span: ReadableSpan) -> tuple[str, str]:
    return (
        str(attribute(span, "spot_billing.parameter.accountId")),
        str(attribute(span, "spot_billing.parameter.fromDate")),
    )
