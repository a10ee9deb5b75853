"""`spot-billing emulator`: the API as a server on this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from cyclopts import Parameter

from spot_billing_async import ConfigError
from spot_billing_async.cli.output import write_out
from spot_billing_async.cli.signals import interruptible

if TYPE_CHECKING:
    from spot_billing_async.emulator import Emulator

Exports = Annotated[list[Path] | None, Parameter(name="--focus", consume_multiple=True)]
Headers = Annotated[bool, Parameter(negative="--no-rate-limit-headers")]
TotalCount = Annotated[bool, Parameter(negative="--no-total-count")]

_DEFAULT_PORT = 8080


async def emulator(
    *,
    port: int = _DEFAULT_PORT,
    host: str = "127.0.0.1",
    focus: Exports = None,
    buckets: Path | None = None,
    db: Path | None = None,
    token: str | None = None,
    page_size: int | None = None,
    total_count: TotalCount = True,
    max_rows: int | None = None,
    rate_limit: str | None = None,
    rate_limit_headers: Headers = True,
    other_consumer: float = 0,
    capacity: int | None = None,
    latency: str | None = None,
    faults: str = "0",
    seed: int = 0,
) -> int:
    """Serve the API over FOCUS exports, or over a sample of its own, until Ctrl-C or SIGTERM.

    Args:
        port: Port to listen on; 0 takes a free one.
        host: Address to listen on.
        focus: FOCUS exports to serve (.csv, .csv.gz, .parquet); the option may be repeated.
        buckets: Folder whose folders setup calls link as buckets.
        db: DuckDB file that keeps the state across restarts; left out: it is forgotten.
        token: The bearer token it accepts; left out: one is made up and printed.
        page_size: Items a page; left out: lists are answered whole.
        total_count: Say on each page how many items there are in all.
        max_rows: Rows that a query for costs may find; one that finds more gets a 413.
        rate_limit: Requests in a sliding window, by route and method, such as 100/60s.
        rate_limit_headers: Tell of the rate limit in the headers of every answer.
        other_consumer: Share of each window, 0 to 1, that another consumer uses up, in bursts.
        capacity: Requests worked on at once; more wait, and beyond four times as many get a 503.
        latency: How long the work on a request takes, such as 50ms, 0.05s or 50ms±20ms.
        faults: What goes wrong, as a share of requests: 0.05 for all kinds evenly, or of some, as
            reset-before=0.02,gzip-bomb=0.01. Kinds: server-error, bad-gateway, reset-before,
            reset-in-headers, reset-after-headers, half-closed, cut-off, wrong-count, slow-drip,
            garbage, gzip-bomb. Lies, by name alone: dropped-page, repeated-page, short-count,
            lost-row.
        seed: Makes latency and faults; with the same one, the same befalls the same requests.
    """
    with interruptible() as interruption, interruption.scope:
        async with running(
            focus=focus or (),
            token=token,
            host=host,
            port=port,
            buckets=buckets,
            db=db,
            page_size=page_size,
            total_count=total_count,
            max_rows=max_rows,
            rate_limit=rate_limit,
            rate_limit_headers=rate_limit_headers,
            other_consumer=other_consumer,
            capacity=capacity,
            latency=latency,
            faults=faults,
            seed=seed,
        ) as server:
            shown = server.token if token is None else "<the token you gave>"
            write_out(
                f"The Billing Engine API is emulated at {server.base_url}; Ctrl-C ends it.\n"
                f"  export SPOTINST_BASE_URL={server.base_url}\n"
                f"  export SPOTINST_TOKEN={shown}\n".encode()
            )
            await anyio.sleep_forever()
    return 0


@asynccontextmanager
async def running(**knobs: Any) -> "AsyncIterator[Emulator]":  # noqa: ANN401  as Emulator has them
    """An emulator that runs; what it does not accept is a `ConfigError`.

    Raises:
        ConfigError: a knob's value, a file or the database is not usable.
        ImportError: its extra is not installed; the message names it.
        OSError: the address can't be listened on.
    """
    # Late: duckdb belongs to an extra.
    from spot_billing_async.emulator import Emulator  # noqa: PLC0415  see above

    try:
        server = await Emulator(**knobs).__aenter__()
    except ValueError as error:  # its FocusError and DatabaseError are ones
        raise ConfigError(str(error)) from error
    try:
        yield server
    finally:
        await server.__aexit__(None, None, None)
