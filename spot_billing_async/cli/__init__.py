"""The `spot-billing` command (extra: cli)."""

import sys


def main() -> None:
    """Run the command that the arguments name, and exit with its code.

    0: done; 1: it failed; 2: usage or configuration; 3: some slices of a pull are missing; 130 and
    143: interrupted by Ctrl-C or SIGTERM.
    """
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
    except KeyboardInterrupt:  # before or after the part that ends in an orderly way
        code = 130
    sys.exit(code)
