"""The `spot-billing` command (extra: cli)."""

import signal
import sys


def main() -> None:
    """Run the command that the process arguments name, and exit with its code.

    Exit codes: 0 success; 1 failure; 2 usage or configuration; 3 slices of a pull or sync are
    missing, or a reconciled sum differs; 130 and 143 interrupted by Ctrl-C or SIGTERM.
    """
    # Outside `interruptible` there is nothing to clean up: the system's own handling of Ctrl-C
    # ends the process without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        # Late: cyclopts and rich belong to an extra.
        from spot_billing_async.cli.app import run  # noqa: PLC0415  see above

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print(  # noqa: T201  `print_stderr` needs the missing extra
            f"error: the command line needs {error.name}: pip install '.[cli]'", file=sys.stderr
        )
        code = 2
    sys.exit(code)
