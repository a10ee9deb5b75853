"""A Redis server of a test's own."""

import contextlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_PATIENCE_S = 30.0


class RedisServer:
    """A redis-server on a free port of the loopback, which keeps nothing on disk.

    Attributes:
        url: where it is; the same after it was started again.
    """

    def __init__(self, program: str, folder: str, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        words = f"--bind 127.0.0.1 --port {self.port} --dir {folder} --appendonly no"
        self._command = [program, *words.split(), "--save", "", *options]
        self.start()

    def start(self) -> None:
        """Run it; it answers from then on."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)  # noqa: S603  the machine's own
        ends_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
            except OSError:
                assert self._process.poll() is None, "redis-server has ended"
                assert time.monotonic() < ends_s
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """End it at once, with all that it held."""
        self._process.kill()
        self._process.wait()

    def halt(self) -> None:
        """Have it answer nothing more, with its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        self._process.send_signal(signal.SIGCONT)


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections.

    One of these would take the port while the server that is to have it again is down.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311  no secret
        with contextlib.suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run a redis-server; the test is skipped where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(program, folder, *options)
        try:
            yield server
        finally:
            server.kill()
