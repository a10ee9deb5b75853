"""Real Redis servers on free loopback ports, without persistence, for tests and benchmarks."""

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

_STARTS_WITHIN_S = 20.0


class RedisServer:
    """A server that can be stopped, and started again on the same port.

    Attributes:
        port: its port.
        url: its URL, `redis://127.0.0.1:PORT`.
        process: the server's process; None while it is stopped.
    """

    def __init__(self, folder: str, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._options = options

    def start(self) -> None:
        """Start the server without data, and wait until it responds."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder, *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  the machine's Redis
        ends_s = time.monotonic() + _STARTS_WITHIN_S
        while not self._responds():
            assert self.process.poll() is None, "redis-server ended"
            assert time.monotonic() < ends_s, "redis-server does not respond"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill the server, as when its machine goes down."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def halt(self) -> None:
        """Suspend the server: its connections stay open, and nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Resume the server after `halt`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _responds(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as stream:
            stream.sendall(b"PING\r\n")
            return stream.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False


def free_port() -> int:
    """Return a free port below the range that the system gives to outgoing connections.

    A port of that range could be taken by another connection while the server is stopped.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311  no secret
        with suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


def has_redis() -> bool:
    """Return True where this machine has the program `redis-server`."""
    return shutil.which("redis-server") is not None


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """Run a server with options of its command line until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder, *options)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """Run a server until the block ends; skip the test where `redis-server` is not installed."""
    if not has_redis():
        pytest.skip("redis-server is not installed")
    with running_redis(*options) as server:
        yield server
