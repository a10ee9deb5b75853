"""Report of a pull: JSON for `--report`, and a summary for standard error. Pure functions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from spot_billing_async import ApiError, CostQuery, Failed, PullReport, PullRun
from spot_billing_async.bulk.records import report_record
from spot_billing_async.cli.output import format_totals, pluralize, to_json


class MissingSlice(NamedTuple):
    """Slice without a result, and the reason.

    Attributes:
        query: account and window of the slice.
        error: class and message of the error; 'cancelled' or 'not started' without one.
        status: HTTP status, if the API returned an error.
        request_id: the API's request id, if the API returned an error.
    """

    query: CostQuery
    error: str
    status: int | None = None
    request_id: str | None = None


def missing_slices(run: PullRun[Any], failed: Sequence[Failed]) -> Iterator[MissingSlice]:
    """Yield the missing slices of a run that has ended: failed ones, then unfinished ones."""
    for failure in failed:
        error = failure.error
        ids = (error.status, error.request_id) if isinstance(error, ApiError) else (None, None)
        yield MissingSlice(failure.query, f"{type(error).__name__}: {error}", *ids)
    for query, started in run.unfinished():
        yield MissingSlice(query, "cancelled" if started else "not started")


def encode_report(report: PullReport, missing: Iterable[MissingSlice]) -> Iterator[bytes]:
    """Yield the report as one JSON object, in pieces: a large plan may miss all of its slices."""
    head = to_json(report_record(report))
    yield head.removesuffix(b"\n}\n") + b',\n  "failures": ['
    for index, each in enumerate(missing):
        failure = {
            "account_id": each.query.account_id,
            "from_date": each.query.from_date,
            "to_date": each.query.to_date,
            "error": each.error,
            "status": each.status,
            "request_id": each.request_id,
        }
        yield (b",\n    " if index else b"\n    ") + msgspec.json.encode(failure)
    yield b"\n  ]\n}\n"


def summary_lines(report: PullReport, missing: Iterable[MissingSlice]) -> Iterator[str]:
    """Yield the report as one line, and the first missing slice as a second one."""
    counts = {
        "ok": report.ok,
        "empty": report.empty,
        "failed": report.failed,
        "cancelled": report.cancelled,
        "not started": report.not_started,
    }
    states = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    yield (
        f"{pluralize(report.planned, 'slice')}: {states}; {pluralize(report.rows, 'row')}, "
        f"total {format_totals(report.totals)} in {report.elapsed_s:.1f} s"
    )
    if report.mismatches:
        responses = pluralize(report.mismatches, "response")
        yield f"{responses} contradicted the query and were asked for again"
    others = report.planned - report.ok - report.empty - 1
    for query, error, *_ in islice(missing, 1):
        more = f" (and {others:,} more; --report lists all)" if others else ""
        yield f"missing: {query.account_id} {query.from_date} to {query.to_date}: {error}{more}"
