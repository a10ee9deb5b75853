"""The command line of the claims: one option."""

import argparse


def is_quick(description: str | None) -> bool:
    """Return True if `--quick` was given; `--help` prints the description and exits."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller run of the same kind")
    return bool(parser.parse_args().quick)
