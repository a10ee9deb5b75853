"""The `spot-billing` command: its subcommands, and the exit codes and messages of errors."""

import asyncio
import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from spot_billing_async import ConfigError, SpotBillingError, __version__
from spot_billing_async.cli import api
from spot_billing_async.cli.demo import demo
from spot_billing_async.cli.emulator import emulator
from spot_billing_async.cli.output import print_stderr
from spot_billing_async.cli.pull import pull
from spot_billing_async.cli.signals import Interrupted
from spot_billing_async.cli.sync import show, sync
from spot_billing_async.cli.terminal import protect_terminals, unfiltered

_FAILED = 1
_USAGE = 2

# Error messages of the library name its arguments; users know the options. A single word is an
# argument's name only at the start of a message ('table must be ...'), a compound name anywhere.
_OPTIONS = {"accounts": "account", "from_date": "from", "path": "out", "to_date": "to"}
_LEADING_NAME = re.compile(
    r"^(accounts|by|capacity|faults|focus|latency|path|port|report|since|spreadsheet|table|window)"
    r"(?:\[\d+\])?(?=:| must )"
)
_COMPOUND_NAME = re.compile(
    r"(?<![\w/'\"-])(from_date|to_date|group_by|mutable_days|max_requests|max_rows|"
    r"other_consumer|page_size|rate_limit)(?![\w'\"])"
)

app: App = App(
    name="spot-billing",
    help=(
        "Pull costs from the Spot Billing Engine API, or emulate the API.\n\n"
        "The token is read from SPOTINST_TOKEN or ~/.spotinst/credentials. SPOTINST_BASE_URL sets "
        "the address of the API."
    ),
    version=__version__,
    default_parameter=Parameter(negative=()),
)
for _group in (
    api.accounts,
    api.families,
    api.billing_engine,
    api.cost_intelligence,
    api.costs,
):
    app.command(_group)
api.costs.command(pull)
api.costs.command(sync)
api.costs.command(show)
app.command(demo)
app.command(emulator)


def run(tokens: Sequence[str]) -> int:
    """Run the command that the arguments name; return its exit code."""
    protect_terminals()
    # For `--help`, which has colours.
    app.console = Console(file=unfiltered(sys.stdout))
    try:
        command, bound, _ = app.meta.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        print_stderr(f"error: {error}")
        return _USAGE
    code: int | None = command(*bound.args, **bound.kwargs)
    return code or 0


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False,
) -> int:
    try:
        command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
        result = command(*bound.args, **bound.kwargs)
        code: int | None = asyncio.run(result) if inspect.iscoroutine(result) else result
    except Interrupted as interrupted:
        return interrupted.exit_code
    except Exception as error:  # noqa: BLE001  the outermost border: one line, or a traceback
        if isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError):
            # The reader has closed the pipe. Without this, flushing the buffer at exit would fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _FAILED
        if debug:
            traceback.print_exception(error)
        print_stderr(f"error: {_error_message(error)}")
        # A missing extra is an ImportError.
        is_usage = isinstance(error, CycloptsError | ConfigError | ImportError)
        return _USAGE if is_usage else _FAILED
    return code or 0


def _error_message(error: Exception) -> str:
    """Return the message of an error; an unexpected error is preceded by its class."""
    if isinstance(error, ConfigError):
        return _LEADING_NAME.sub(_option_name, _COMPOUND_NAME.sub(_option_name, str(error)))
    is_expected = isinstance(error, CycloptsError | SpotBillingError | ImportError | OSError)
    return str(error) if is_expected else f"{type(error).__name__}: {error}"


def _option_name(name: re.Match[str]) -> str:
    """Return the option of an argument of the library, such as `--from` for `from_date`."""
    return "--" + _OPTIONS.get(name[1], name[1].replace("_", "-"))
