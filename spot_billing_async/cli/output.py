"""Output of the commands: JSON, CSV, tables and progress bars, on standard output and error."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from spot_billing_async.cli.terminal import unfiltered
from spot_billing_async.errors import printable, single_line
from spot_billing_async.export.csv_text import encode_csv, without_formula
from spot_billing_async.models.money import plain
from spot_billing_async.telemetry import AvailabilityChanged, Event

OutputFormat = Annotated[
    Literal["table", "json", "csv", "spreadsheet"] | None,
    Parameter(
        name="--format",
        help=(
            "Output format; by default 'table' on a terminal, otherwise 'json'. 'spreadsheet' is "
            "CSV whose texts a spreadsheet cannot run as formulas."
        ),
    ),
]

Record = Mapping[str, object]

_PIPE_WIDTH = 10_000


def format_totals(totals: Mapping[str, Decimal]) -> str:
    """Return totals by currency, such as 'EUR 1.5, USD 20'; 'none' without any."""
    return ", ".join(f"{code} {plain(totals[code])}" for code in sorted(totals)) or "none"


def pluralize(count: int, noun: str) -> str:
    """Return a number and its noun, such as '1 day' or '1,000 days'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def to_record(item: msgspec.Struct) -> Record:
    """Return the fields of a struct under their Python names; amounts as text."""
    return {
        # `str` would write amounts such as 1E+3.
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in msgspec.structs.asdict(item).items()
    }


def to_json(value: object) -> bytes:
    """Return indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _print_csv(
    columns: Sequence[str], records: Iterable[Record], output_format: Literal["csv", "spreadsheet"]
) -> None:
    """Print CSV as of RFC 4180, with a header, in UTF-8."""
    rows = ([_to_text(row[name]) for name in columns] for row in records)
    if output_format == "spreadsheet":
        rows = (list(map(without_formula, row)) for row in rows)
    if sys.stdout.isatty():  # standard output would keep newlines, which only the rows may have
        rows = (list(map(printable, row)) for row in rows)
    write_stdout(encode_csv([columns, *rows]))


def to_table(columns: Sequence[str], records: Iterable[Record], title: str | None = None) -> Table:
    """Return a table with one line for each record; costs are aligned to the right."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        is_amount = name == "cost"
        table.add_column(name, justify="right" if is_amount else "left", no_wrap=is_amount)
    for row in records:
        table.add_row(*(_to_cell(row[name]) for name in columns))
    return table


def print_items(
    item_type: type[msgspec.Struct], items: Sequence[msgspec.Struct], output_format: OutputFormat
) -> None:
    """Print a list of structs; a column for each field of their type."""
    records = [to_record(item) for item in items]
    print_records(item_type.__struct_fields__, records, output_format)


def print_records(
    columns: Sequence[str], records: Sequence[Record], output_format: OutputFormat
) -> None:
    """Print a list of records."""
    match resolve_format(output_format):
        case "json":
            write_stdout(to_json(records))
        case "table":
            print_table(to_table(columns, records))
        case csv_format:
            _print_csv(columns, records, csv_format)


def print_object(columns: Sequence[str], item: Record | None, output_format: OutputFormat) -> None:
    """Print one object; None stands for a response without one."""
    match resolve_format(output_format):
        case "json":
            write_stdout(to_json(item))
        case "table":
            table = Table(show_header=False)
            for name in columns if item is not None else ():
                table.add_row(name, _to_cell((item or {})[name]))
            print_table(table)
        case csv_format:
            _print_csv(columns, [] if item is None else [item], csv_format)


def print_table(table: Table) -> None:
    """Print a table made by `to_table`; in a pipe, lines are not wrapped."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    Console(file=unfiltered(sys.stdout), width=width).print(table)


def progress_bar(unit: str) -> Progress:
    """Return a progress bar on standard error, which vanishes at the end; only on a terminal.

    Args:
        unit: plural noun of the counted things, shown after the count.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        console=Console(file=unfiltered(sys.stderr)),
        transient=True,
        redirect_stdout=False,  # standard output may carry rows
        redirect_stderr=False,
        disable=not sys.stderr.isatty(),
    )


class AvailabilityPrinter:
    """Hook of a client that prints on standard error when the API is away, and when it is back.

    Attributes:
        progress: the progress bar to print above; None before there is one.
    """

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def __call__(self, event: Event, /) -> None:
        """Print a line for an outage."""
        if not isinstance(event, AvailabilityChanged):
            return
        if self.progress is None or self.progress.disable:
            print_stderr(event.text)
        else:
            self.progress.console.print(Text(event.text))


def write_stdout(content: bytes) -> None:
    """Write bytes to standard output, past its text encoding: output is UTF-8 in any locale."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_stdout(text: str) -> None:
    """Print one line on standard output."""
    write_stdout(f"{single_line(text)}\n".encode())


def print_stderr(text: str) -> None:
    """Print one line on standard error."""
    print(single_line(text), file=sys.stderr)  # noqa: T201  a command line prints


def resolve_format(
    output_format: OutputFormat,
) -> Literal["table", "json", "csv", "spreadsheet"]:
    """Return the format to print in: the given one, else a table on a terminal and JSON in a pipe.

    Args:
        output_format: value of `--format`; None if it was not given.
    """
    return output_format or ("table" if sys.stdout.isatty() else "json")


def _to_cell(value: object) -> Text:
    # Rich writes past the filter of a terminal: names in a response must not break or colour the
    # table. It takes no markup from a `Text`.
    return Text(single_line(_to_text(value)), overflow="fold")


def _to_text(value: object) -> str:
    """Return a value as text: '' for None, JSON for lists and objects."""
    match value:
        case None:
            return ""
        case str():
            return value
        case Decimal():
            return plain(value)
        case date():
            return value.isoformat()
        case _:
            return msgspec.json.encode(value).decode()
