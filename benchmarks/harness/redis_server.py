"""A Redis of one's own: a real server on a free loopback port, which keeps nothing on disk."""

import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PATIENCE_S = 20.0


class RedisServer:
    """A server that can be stopped and started again at the same place.

    Attributes:
        url: where it is.
        process: the server; None while it is stopped.
    """

    def __init__(self, folder: str, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self._options = options

    def start(self) -> None:
        """Start it, empty; it answers when this returns."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", self._folder, *self._options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  the machine's Redis
        ends_s = time.monotonic() + _PATIENCE_S
        while not self._answers():
            assert self.process.poll() is None, "redis-server ended"
            assert time.monotonic() < ends_s, "redis-server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it, as a machine that goes down would."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def halt(self) -> None:
        """Have it answer nothing more, with its connections open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Have it answer again."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as stream:
            stream.sendall(b"PING\r\n")
            return stream.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        return False


def free_port() -> int:
    """A free port below those that the system gives to outgoing connections.

    One of these would take the port while the server that is to have it again is down.
    """
    while True:
        port = random.randrange(10_000, 30_000)  # noqa: S311  no secret
        with suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port


def can_run() -> bool:
    """Whether this machine has a redis-server."""
    return shutil.which("redis-server") is not None


@contextmanager
def running_redis(*options: str) -> Iterator[RedisServer]:
    """A server that runs while the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(folder, *options)
        try:
            server.start()
            yield server
        finally:
            server.stop()
