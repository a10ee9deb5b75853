"""What goes to the terminal, to pipes and to standard error: pure spelling, thin printing."""

import csv
import io
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

from spot_billing_async.models.money import plain

Format = Annotated[
    Literal["table", "json", "csv"] | None,
    Parameter(name="--format", help="How to print; by default a table on a terminal, else json."),
]

Record = Mapping[str, object]

_WIDE = 10_000


def totals_text(totals: Mapping[str, Decimal]) -> str:
    """Totals by currency, such as 'EUR 1.5, USD 20'; 'no costs' where there are none."""
    return ", ".join(f"{code} {plain(totals[code])}" for code in sorted(totals)) or "no costs"


def counted(count: int, noun: str) -> str:
    """A number of something: '1 day', '1,000 days'."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def one_line(text: str) -> str:
    """A text as one line that cannot steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def record(item: msgspec.Struct) -> Record:
    """A struct as plain values under its Python names; amounts as text."""
    return {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in msgspec.structs.asdict(item).items()
    }


def as_json(value: object) -> bytes:
    """Indented JSON and a line's end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def as_csv(columns: Sequence[str], records: Iterable[Record]) -> bytes:
    """CSV of RFC 4180 with a header, in UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in records)
    return text.getvalue().encode()


def as_table(columns: Sequence[str], records: Iterable[Record], title: str | None = None) -> Table:
    """A table with a line a record; amounts stand to the right."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        amount = name == "cost"
        table.add_column(name, justify="right" if amount else "left", no_wrap=amount)
    for row in records:
        table.add_row(*(_text(row[name]) for name in columns))
    return table


def show(item_type: type[msgspec.Struct], items: Sequence[msgspec.Struct], form: Format) -> None:
    """Print a list of items."""
    show_records(item_type.__struct_fields__, [record(item) for item in items], form)


def show_records(columns: Sequence[str], records: Sequence[Record], form: Format) -> None:
    """Print a list of records."""
    match chosen(form):
        case "json":
            write_out(as_json(records))
        case "csv":
            write_out(as_csv(columns, records))
        case "table":
            console().print(as_table(columns, records))


def show_one(columns: Sequence[str], item: Record | None, form: Format) -> None:
    """Print an object; None is an answer without one."""
    match chosen(form):
        case "json":
            write_out(as_json(item))
        case "csv":
            write_out(as_csv(columns, [] if item is None else [item]))
        case "table":
            table = Table(show_header=False)
            for name in columns if item is not None else ():
                table.add_row(name, _text((item or {})[name]))
            console().print(table)


def console() -> Console:
    """Standard output; in a pipe, lines are as long as they need to be."""
    return Console(
        width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False, emoji=False
    )


def progress_bar(unit: str) -> Progress:
    """Progress on standard error, told in a unit; only on a terminal, and gone at the end."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # rows may be going there
        redirect_stderr=False,
        disable=not sys.stderr.isatty(),
    )


def write_out(content: bytes) -> None:
    """Print bytes: UTF-8 whatever the locale."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Print a line on standard error."""
    print(one_line(text), file=sys.stderr)  # noqa: T201  what it is for


def chosen(form: Format) -> Literal["table", "json", "csv"]:
    """The form that is asked for; by default a table on a terminal, else JSON."""
    return form or ("table" if sys.stdout.isatty() else "json")


def _text(value: object) -> Text:
    return Text(one_line(_cell(value)), overflow="fold")


def _cell(value: object) -> str:
    """A value as text: nothing for None, JSON for what is no single value."""
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
