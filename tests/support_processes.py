"""Servers in processes of their own, for tests and benchmarks.

A server's CPU, memory, sockets and tasks are then not counted as the client's.
"""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
TOKEN = "benchmark"
_STARTS_WITHIN_S = 30

_ONE_ROW_BILL = (
    "BilledCost,BillingAccountId,BillingCurrency,ChargePeriodStart,ProviderName,ServiceName\n"
    "0.1,a1,USD,2024-01-01T00:00:00Z,AWS,S3\n"
)


class Child(NamedTuple):
    """A process that serves until its standard input ends.

    Attributes:
        process: the process.
        first_line: the first line of its standard output, such as its address.
    """

    process: subprocess.Popen[str]
    first_line: str

    def query(self) -> str:
        """Send an empty line, and return the line that the process prints in response."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()


@contextmanager
def child_process(command: list[str]) -> Iterator[Child]:
    """Run a command in this checkout until the block ends; it prints a line once it serves."""
    with subprocess.Popen(  # noqa: S603  this checkout's own code
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield Child(process, process.stdout.readline().strip())
        process.communicate()


@contextmanager
def emulator_process(*options: str, bills: Sequence[Path] = ()) -> Iterator[str]:
    """Run the emulator by its command line; yields its base URL.

    Args:
        *options: options of `spot-billing emulator`.
        bills: FOCUS exports to serve; by default a bill of one row, whose queries take no time.
    """
    with tempfile.TemporaryDirectory() as folder:
        one_row = Path(folder) / "bill.csv"
        one_row.write_text(_ONE_ROW_BILL)
        command = [sys.executable, "-m", "spot_billing_async.cli", "emulator", "--port", "0"]
        command += ["--token", TOKEN, *options]
        for bill in bills or [one_row]:
            command += ["--focus", str(bill)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  this checkout's own code
            assert process.stdout is not None
            words = process.stdout.readline().split()
            try:
                yield next(word.rstrip(";") for word in words if word.startswith("http"))
            finally:
                process.terminate()


@contextmanager
def uvicorn_process(
    application: str, environment: Mapping[str, str], *options: str, cwd: Path | None = None
) -> Iterator[str]:
    """Serve an ASGI app by uvicorn; yields its base URL.

    Args:
        application: the app as `module:name`.
        environment: variables of the process.
        *options: options of uvicorn.
        cwd: working directory; that of this process by default.

    Raises:
        RuntimeError: no connection was accepted within 30 s.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port)]
    command += ["--log-level", "warning", *options]
    with subprocess.Popen(command, env=environment, cwd=cwd) as server:  # noqa: S603  our own code
        try:
            _wait_until_it_listens(server, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_until_it_listens(server: "subprocess.Popen[bytes]", port: int) -> None:
    ends_s = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < ends_s and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"uvicorn did not start within {_STARTS_WITHIN_S} s: {server.returncode}")
