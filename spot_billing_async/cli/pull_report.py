"""The report of a pull: what came, what did not, and how that is told. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from spot_billing_async import ApiError, CostQuery, Failed, PullReport, PullRun
from spot_billing_async.bulk.records import report_record
from spot_billing_async.cli.output import as_json, totals_text


class Missing(NamedTuple):
    """A slice that is missing, and why."""

    query: CostQuery
    error: str
    status: int | None = None
    request_id: str | None = None


def missing(run: PullRun[Any], failed: Sequence[Failed]) -> Iterator[Missing]:
    """What a run that has ended did not bring: failed slices, then those not handed over."""
    for failure in failed:
        error = failure.error
        told = (error.status, error.request_id) if isinstance(error, ApiError) else (None, None)
        yield Missing(failure.query, f"{type(error).__name__}: {error}", *told)
    for query, started in run.unfinished():
        yield Missing(query, "cancelled" if started else "not started")


def report_chunks(report: PullReport, slices: Iterable[Missing]) -> Iterator[bytes]:
    """The report as an object of JSON, in pieces: of a large plan, all of it may be missing."""
    head = as_json(report_record(report))
    yield head.removesuffix(b"\n}\n") + b',\n  "failures": ['
    for place, each in enumerate(slices):
        failure = {
            "account_id": each.query.account_id,
            "from_date": each.query.from_date,
            "to_date": each.query.to_date,
            "error": each.error,
            "status": each.status,
            "request_id": each.request_id,
        }
        yield (b",\n    " if place else b"\n    ") + msgspec.json.encode(failure)
    yield b"\n  ]\n}\n"


def summary(report: PullReport, slices: Iterable[Missing]) -> Iterator[str]:
    """The report in a line; a second one names the first slice that is missing."""
    counts = {
        "ok": report.ok,
        "empty": report.empty,
        "failed": report.failed,
        "cancelled": report.cancelled,
        "not started": report.not_started,
    }
    told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    yield (
        f"{report.planned:,} slices: {told}; {report.rows:,} rows, "
        f"total {totals_text(report.totals)} in {report.elapsed_s:.1f} s"
    )
    others = report.planned - report.ok - report.empty - 1
    for query, error, *_ in islice(slices, 1):
        more = f" (and {others:,} more: see --report)" if others else ""
        yield f"missing: {query.account_id} {query.from_date} to {query.to_date}: {error}{more}"
