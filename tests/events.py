"""Telemetry events with default values, for tests of hooks."""

from collections.abc import Mapping
from typing import Any

from spot_billing_async._core.protocol.operations import GET_COSTS, Operation
from spot_billing_async._core.protocol.request import build_request
from spot_billing_async.telemetry import CallEnded, Phases, RequestEnded

BASE = "https://api.example.com:8443/prefix"


def request_ended(
    operation: Operation = GET_COSTS,
    family_id: str = "f",
    query: Mapping[str, str] | None = None,
    **changed: Any,
) -> RequestEnded:
    """Return the event of a successful request, with some fields changed."""
    path_ids = {"familyId": family_id} if "{familyId}" in operation.path else {}
    request = build_request(operation, BASE, operation.path, path_ids=path_ids, query=query or {})
    values: dict[str, Any] = {
        "operation_id": operation.operation_id,
        "call_id": 1,
        "number": 1,
        "method": operation.method,
        "url": request.url,
        "url_template": f"/prefix{operation.path}",
        "started_s": 0.0,
        "elapsed_s": 0.0,
        "status": 200,
        "received_bytes": 0,
        "error": None,
    }
    return RequestEnded(**values | changed)


def call_ended(**changed: Any) -> CallEnded:
    """Return the event of a call without requests, with some fields changed."""
    values: dict[str, Any] = {
        "operation_id": GET_COSTS.operation_id,
        "call_id": 1,
        "parameters": {},
        "started_s": 0.0,
        "elapsed_s": 0.0,
        "phases": Phases(),
        "requests": 0,
        "retries": 0,
        "refusals": 0,
        "received_bytes": 0,
        "rows": 0,
        "error": None,
    }
    return CallEnded(**values | changed)
