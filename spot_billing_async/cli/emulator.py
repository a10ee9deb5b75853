"""`spot-billing emulator`: the API as a server on this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from cyclopts import Parameter

from spot_billing_async import ConfigError
from spot_billing_async.cli.output import write_stdout
from spot_billing_async.cli.signals import interruptible

if TYPE_CHECKING:
    from spot_billing_async.emulator import Emulator

Exports = Annotated[list[Path] | None, Parameter(name="--focus", consume_multiple=True)]
Hosts = Annotated[list[str] | None, Parameter(consume_multiple=True)]
Headers = Annotated[bool, Parameter(negative="--no-rate-limit-headers")]
TotalCount = Annotated[bool, Parameter(negative="--no-total-count")]

_DEFAULT_PORT = 8080


async def emulator(
    *,
    port: int = _DEFAULT_PORT,
    host: str = "127.0.0.1",
    allow_host: Hosts = None,
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
    """Serve the API from FOCUS exports or a built-in sample, until Ctrl-C or SIGTERM.

    Args:
        port: Port to listen on; 0 picks a free one.
        host: Address to listen on.
        allow_host: Host names that requests may name besides loopback ones, while the server
            listens on loopback. Takes several names, and may be repeated.
        focus: FOCUS exports to serve (.csv, .csv.gz, .parquet); by default a built-in sample.
            Takes several files, and may be repeated.
        buckets: Folder whose subfolders are the buckets that setup calls can link.
        db: DuckDB file that keeps the state across restarts; by default the state is lost.
        token: Bearer token to accept; by default a random one, which is printed.
        page_size: Items per page; by default lists have one page.
        total_count: Include the total number of items in each page.
        max_rows: Largest number of rows of a cost query; one that finds more gets a 413.
        rate_limit: Requests per sliding period, for each operation, such as 100/60s.
        rate_limit_headers: Send rate-limit headers with every response.
        other_consumer: Share of the quota, 0 to 1, that a simulated second consumer uses.
        capacity: Requests processed at once; others wait, and beyond four times as many get a 503.
        latency: Processing time of a request, such as 50ms, 0.05s or 50ms±20ms.
        faults: Share of requests that fail: 0.05 spreads it over all kinds, and
            reset-before=0.02,gzip-bomb=0.01 names some. Kinds: server-error, bad-gateway,
            reset-before, reset-in-headers, reset-after-headers, half-closed, cut-off, wrong-count,
            slow-drip, garbage, gzip-bomb. Only by name, wrong data: dropped-page, repeated-page,
            short-count, lost-row; correct data in a wrong place: duplicate, idle-duplicate,
            late-duplicate, misdirect.
        seed: Seed of latency and faults; the same seed gives the same ones to the same requests.
    """
    with interruptible() as interruption, interruption.scope:
        async with running_emulator(
            focus=focus or (),
            token=token,
            host=host,
            port=port,
            allow_host=allow_host or (),
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
            # A token that the user chose may be a secret: it is not printed.
            printed_token = server.token if token is None else "<the given token>"
            write_stdout(
                f"Emulating the Billing Engine API at {server.base_url}; press Ctrl-C to stop.\n"
                f"  export SPOTINST_BASE_URL={server.base_url}\n"
                f"  export SPOTINST_TOKEN={printed_token}\n".encode()
            )
            await anyio.sleep_forever()
    return 0


@asynccontextmanager
async def running_emulator(
    **options: Any,  # noqa: ANN401  as Emulator takes them
) -> "AsyncIterator[Emulator]":
    """Run an emulator inside this block.

    Args:
        **options: arguments of `Emulator`.

    Raises:
        ConfigError: an option's value, a file or the database is not usable.
        ImportError: the extra is not installed; the message names it.
        OSError: the address cannot be listened on.
    """
    # Late: duckdb belongs to an extra.
    from spot_billing_async.emulator import Emulator  # noqa: PLC0415  see above

    # Not `async with`: a ValueError raised inside the caller's block must stay what it is.
    try:
        server = await Emulator(**options).__aenter__()
    except ValueError as error:  # also FocusError and DatabaseError
        raise ConfigError(str(error)) from error
    try:
        yield server
    finally:
        await server.__aexit__(None, None, None)
