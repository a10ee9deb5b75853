"""Commands run in this process on a pseudo-terminal, and the server that answers them."""

import io
import json
import os
import pty
import sys
import threading
import tty
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from spot_billing_async.cli.app import run

# Characters that Unicode lets renderers ignore although their category is that of visible ones.
_IGNORABLE = {
    *map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0)),
    *map(chr, range(0x180B, 0x1810)),
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0xE0100, 0xE01F0)),
}


def unsafe(text: str) -> set[str]:
    """Return the characters, other than newlines, that steer a terminal or hide in it."""
    categories = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {
        each
        for each in set(text) - {"\n"}
        if unicodedata.category(each) in categories or each in _IGNORABLE
    }


@contextmanager
def terminal(encoding: str = "utf-8") -> Iterator[Callable[[], str]]:
    """Make both standard streams one pseudo-terminal; yield a function that ends it.

    The function returns the output. A thread reads it, as a terminal holds a few KB only.
    """
    reader, device = pty.openpty()
    tty.setraw(device)  # else the device would change newlines
    chunks: list[bytes] = []

    def read() -> None:
        try:
            while chunk := os.read(reader, 65_536):
                chunks.append(chunk)
        except OSError:
            pass  # how Linux reports that no stream of the terminal is open
        os.close(reader)

    reading = threading.Thread(target=read)
    reading.start()
    out = open(device, "w", encoding=encoding, closefd=False)  # noqa: SIM115  a descriptor
    err = open(device, "w", encoding=encoding, closefd=False)  # noqa: SIM115  a descriptor

    def output() -> str:
        for stream in (sys.stdout, sys.stderr, out, err):
            stream.flush()
        os.close(device)
        reading.join()
        return b"".join(chunks).decode(encoding)

    with patch.object(sys, "stdout", out), patch.object(sys, "stderr", err):
        yield output


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Print nothing about a connection that the client reset: the streams are the command's."""


class Answering:
    """Server in a thread that answers every request alike, and the commands that ask it.

    Attributes:
        status: HTTP status of its answers.
        body: their JSON body.
        header: text of their status line and of a header that may hold a request id.
        variables: environment variables of the commands.
    """

    def __init__(self) -> None:
        self.status: int = 200
        self.body: Any = None
        self.header: str = ""
        # A dumb terminal has no colours, which are escapes of the command's own.
        self.variables: dict[str, str] = {"SPOTINST_TOKEN": "an-invented-token", "TERM": "dumb"}

    def on_terminal(self, *words: str, encoding: str = "utf-8") -> tuple[int, str]:
        """Run a command; return its exit code, and what both streams show."""
        with patch.dict(os.environ, self.variables), terminal(encoding) as output:
            code = run(words)
            return code, output()

    def in_pipe(self, *words: str) -> tuple[int, bytes]:
        """Run a command; return its exit code and the bytes of standard output."""
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        with (
            patch.dict(os.environ, self.variables),
            patch.object(sys, "stdout", out),
            patch.object(sys, "stderr", err),
        ):
            code = run(words)
            out.flush()
            assert isinstance(out.buffer, io.BytesIO)
            return code, out.buffer.getvalue()


@contextmanager
def answering() -> Iterator[Answering]:
    """Run a server whose answers can be changed."""
    answers = Answering()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = json.dumps(answers.body).encode()
            header = answers.header.encode().decode("latin-1")  # encoded as Latin-1 again
            self.send_response(answers.status, header)
            self.send_header("X-Request-Id", header)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815  named by the base class

        def log_message(self, *_: object) -> None:
            pass

    with _Server(("127.0.0.1", 0), Handler) as server:
        answers.variables["SPOTINST_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield answers
        finally:
            server.shutdown()
            serving.join()
