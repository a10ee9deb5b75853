"""The one option that benchmarks take."""

import argparse


def is_quick(text: str | None) -> bool:
    """Whether `--quick` was given; `--help` prints the text and ends the benchmark."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smaller run, of the same kind")
    return bool(parser.parse_args().quick)
