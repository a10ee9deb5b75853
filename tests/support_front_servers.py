"""Real nginx and HAProxy in front of a server, which close idle connections and reload."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support_redis import free_port

_STARTS_WITHIN_S = 20.0

_NGINX = """
daemon off;
user root;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_timeout 1s;
    keepalive_requests 20;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ proxy_pass http://{server}; }}
    }}
}}
"""

_HAPROXY = """
global
    stats socket {folder}/socket mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 30s
    timeout http-request 1s
    timeout http-keep-alive 1s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server behind {server}
"""


class FrontServer(NamedTuple):
    """Running nginx or HAProxy.

    Attributes:
        base_url: its address.
        process: its master process.
        reload_signal: signal on which it replaces its workers.
    """

    base_url: str
    process: "subprocess.Popen[bytes]"
    reload_signal: signal.Signals

    def reload(self) -> None:
        """Replace the workers; the old ones finish their requests and close the rest."""
        assert self.process.poll() is None, "the front server has ended"
        self.process.send_signal(self.reload_signal)


@contextmanager
def front_server(program: str, base_url: str) -> Iterator[FrontServer]:
    """Run nginx or HAProxy in front of a server; skip the test where it is not installed."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"{program} is not installed")
    port, server = free_port(), urlsplit(base_url).netloc
    with tempfile.TemporaryDirectory() as folder:
        template = _NGINX if program == "nginx" else _HAPROXY
        configuration = Path(folder) / "conf"
        configuration.write_text(template.format(folder=folder, port=port, server=server))
        command = [path, "-p", folder, "-c", str(configuration)]
        reload_signal = signal.SIGHUP
        if program == "haproxy":
            command, reload_signal = [path, "-W", "-db", "-f", str(configuration)], signal.SIGUSR2
        with subprocess.Popen(  # noqa: S603  the machine's own
            command, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                _wait_until_it_listens(process, port)
                yield FrontServer(f"http://127.0.0.1:{port}", process, reload_signal)
            finally:
                # Workers too: HAProxy's master misses a SIGTERM that comes during a reload.
                os.killpg(process.pid, signal.SIGKILL)


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    ends_s = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < ends_s:
        assert process.poll() is None, "the front server ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    pytest.fail(f"the front server did not start within {_STARTS_WITHIN_S} s")
