"""The `spot-billing` command: which commands there are, and what becomes of their errors."""

import asyncio
import inspect
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from spot_billing_async import ConfigError, SpotBillingError, __version__
from spot_billing_async.cli import api
from spot_billing_async.cli.demo import demo
from spot_billing_async.cli.emulator import emulator
from spot_billing_async.cli.output import say
from spot_billing_async.cli.pull import pull
from spot_billing_async.cli.signals import Interrupted
from spot_billing_async.cli.sync import show, sync

_FAILED = 1
_USAGE = 2

_OPTIONS = {"accounts": "account", "from_date": "from", "to_date": "to"}
_FIELD = re.compile(r"^(accounts|by|report|since|table|window)(?:\[\d+\])?(?=:| must )")
_NAMES = re.compile(
    r"(?<![\w/'\"-])(from_date|to_date|group_by|mutable_days|max_requests)(?![\w'\"])"
)
"""Plain words stand for an option where a message begins with them, others wherever they are."""

app = App(
    name="spot-billing",
    help=(
        "Costs from the Spot Billing Engine API, and an emulator of it.\n\n"
        "The token is read from SPOTINST_TOKEN or ~/.spotinst/credentials, the API's address from "
        "SPOTINST_BASE_URL."
    ),
    version=__version__,
    default_parameter=Parameter(negative=()),
)
for group in (
    api.accounts,
    api.families,
    api.billing_engine,
    api.cost_intelligence,
    api.costs,
):
    app.command(group)
api.costs.command(pull)
api.costs.command(sync)
api.costs.command(show)
app.command(demo)
app.command(emulator)


def run(tokens: Sequence[str]) -> int:
    """Run the command that the tokens name; the exit code."""
    try:
        command, bound, _ = app.meta.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        say(f"error: {error}")
        return _USAGE
    code: int | None = command(*bound.args, **bound.kwargs)
    return code or 0


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False,
) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # tables too, whatever the locale
    try:
        return _execute(tokens)
    except Interrupted as interrupted:
        return interrupted.exit_code
    except Exception as error:  # noqa: BLE001  the last place: told in a line, shown on request
        if _is_broken_pipe(error):
            # The reader has seen enough. What is still buffered must not fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _FAILED
        if debug:
            traceback.print_exception(error)
        say(f"error: {_message(error)}")
        return exit_code(error)


def _execute(tokens: Sequence[str]) -> int:
    command, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    result = command(*bound.args, **bound.kwargs)
    code: int | None = asyncio.run(result) if inspect.iscoroutine(result) else result
    return code or 0


def exit_code(error: Exception) -> int:
    """2 for usage and configuration, a missing extra included; 1 for anything else."""
    return _USAGE if isinstance(error, CycloptsError | ConfigError | ImportError) else _FAILED


def _message(error: Exception) -> str:
    """What an error says; errors that nobody foresaw are named as well."""
    if isinstance(error, ConfigError):
        return _FIELD.sub(_option, _NAMES.sub(_option, str(error)))
    foreseen = isinstance(error, CycloptsError | SpotBillingError | ImportError | OSError)
    return str(error) if foreseen else f"{type(error).__name__}: {error}"


def _option(name: re.Match[str]) -> str:
    """What an argument of the library is called on the command line."""
    return "--" + _OPTIONS.get(name[1], name[1].replace("_", "-"))


def _is_broken_pipe(error: Exception) -> bool:
    return isinstance(error, BrokenPipeError) or isinstance(error.__cause__, BrokenPipeError)
