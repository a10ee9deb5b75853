"""The `spot-billing` command (extra: cli)."""

import signal
import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code.

    0: done; 1: it failed; 2: usage or configuration; 3: some slices of a pull or sync are missing,
    or a sum differs; 130 and 143: interrupted by Ctrl-C or SIGTERM.
    """
    # Until a command can end in an orderly way, and after it has, there is nothing to put in order:
    # the system ends it, without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        # Late: cyclopts and rich belong to an extra.
        from spot_billing_async.cli.app import run  # noqa: PLC0415  see above

        code = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        print(  # noqa: T201  there is no other way yet
            f"error: {error.name} is missing: pip install 'spot-billing-async[cli]'",
            file=sys.stderr,
        )
        code = 2
    sys.exit(code)
