"""Capture of everything an application may keep of a call: logs, output, errors, telemetry."""

import copyreg
import io
import logging
import pickle
import re
import sys
import traceback
import warnings
from asyncio import get_running_loop
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from inspect import isawaitable
from pathlib import Path
from typing import Any

import rich
import structlog
from rich.console import Console
from rich.traceback import Traceback

from spot_billing_async.logs import LoggingHook, StructlogHook
from spot_billing_async.telemetry import Event, fan_out
from tests.exported import Exported


class Everything(logging.Handler):
    """Captured texts; also a handler of all log records, and a telemetry hook."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.texts: list[str] = []
        self.errors: list[BaseException] = []
        self.exported = Exported()
        log = structlog.wrap_logger(_Texts(self.texts), [structlog.processors.JSONRenderer()])
        self._hook = fan_out(
            self.keep,
            LoggingHook(identify_accounts=True),
            StructlogHook(log, identify_accounts=True),
            self.exported.hook(identify_accounts=True),
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a log record: its message, all its fields, and the variables of its traceback."""
        self.texts += [logging.Formatter().format(record), repr(vars(record))]
        if record.exc_info and record.exc_info[1] is not None:
            self.keep_error(record.exc_info[1])

    def __call__(self, event: Event) -> None:
        """Keep a telemetry event, and what the log hooks and exporters write of it."""
        self._hook(event)

    def keep(self, *values: object) -> None:
        """Keep the forms of values: repr, str, rich, and pickle where they support it."""
        for value in values:
            console = Console(file=io.StringIO(), width=500)
            rich.inspect(value, console=console, private=True, value=False)
            console.print(value)
            assert isinstance(console.file, io.StringIO)
            self.texts += [repr(value), str(value), console.file.getvalue()]
            try:
                self.texts.append(pickle.dumps(value).decode("latin-1"))
            except (TypeError, AttributeError, pickle.PicklingError) as error:
                self.texts.append(str(error))

    def keep_error(self, error: BaseException) -> None:
        """Keep an error, and its traceback in three formats, two of them with variables."""
        self.errors.append(error)
        self.texts += [str(error), repr(error), repr(vars(error)), repr(error.args)]
        self.texts += traceback.format_exception(error)
        with_locals = traceback.TracebackException.from_exception(error, capture_locals=True)
        self.texts += list(with_locals.format())
        # What rich shows of the frames, without its layout, which takes a second for each error.
        trace = Traceback.extract(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=sys.maxsize,
            locals_max_string=sys.maxsize,
            locals_hide_dunder=False,
        )
        self.texts.append(repr(trace))
        if type(error) in copyreg.dispatch_table or isinstance(error, Exception):
            self.texts.append(pickle.dumps(error).decode("latin-1"))

    def keep_files(self, folder: Path) -> None:
        """Keep the names and contents of all files in a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.texts += [str(path), path.read_bytes().decode("latin-1")]

    def assert_without(self, secret: str) -> None:
        """Assert that no text holds the secret or half of it, also across wrapped lines."""
        middle = len(secret) // 2
        for text in self.texts + self.exported.texts():
            joined = re.sub(r"[\s│╎┊|]", "", text)
            assert secret[:middle] not in joined, text
            assert secret[middle:] not in joined, text


class _Texts:
    """Output of structlog that appends each line to a list."""

    def __init__(self, texts: list[str]) -> None:
        self.debug = self.info = self.warning = texts.append


@contextmanager
def capturing() -> Iterator[Everything]:
    """Capture everything that happens in the block, with asyncio in debug mode."""
    kept, root, loop = Everything(), logging.getLogger(), get_running_loop()
    output, level = io.StringIO(), root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    loop.set_debug(True)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with redirect_stdout(output), redirect_stderr(output):
                yield kept
    finally:
        loop.set_debug(False)
        root.setLevel(level)
        root.removeHandler(kept)
        kept.texts += [str(warning) for warning in warned]
        kept.texts.append(output.getvalue())


async def attempt(
    kept: Everything, function: Callable[[], Awaitable[Any] | Any]
) -> BaseException | None:
    """Call a function, and keep its result, or its error with all frames; return the error."""
    try:
        result = function()
        kept.keep(await result if isawaitable(result) else result)
    except BaseException as error:  # noqa: BLE001  a cancellation is kept like any other error
        kept.keep_error(error)
        return error
    return None
