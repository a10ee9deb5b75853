"""The servers that peers are measured against, each in a process of its own.

nginx, where this machine has it, serves a page from a file; else, and where answers are to have a
latency, the canned server of `benchmarks.harness.server` does. Both are asked for their CPU, so
that it shows when a server was the limit.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.child import serving_child
from benchmarks.harness.server import body_of

CHECKOUT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 30.0

_NGINX_CONF = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    sendfile on;
    tcp_nodelay on;
    etag off;
    open_file_cache max=10 inactive=1h;
    open_file_cache_valid 1h;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location = /billingEngine/cost {{
            alias {folder}/page.json;
            types {{ }}
            default_type application/json;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        kind: "nginx" or "canned".
        base_url: where it is.
        pid: its process.
    """

    kind: str
    base_url: str
    pid: int

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def nginx() -> str | None:
    """Where nginx is; None where this machine has none."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextmanager
def serving(rows: int, *, latency_s: float = 0, kind: str = "nginx") -> Iterator[Served]:
    """A server of pages of so many rows: of the kind asked for, where that can be had."""
    program = nginx()
    if kind == "nginx" and program and not latency_s:
        with _nginx(program, rows) as served:
            yield served
    else:
        with _canned(rows, latency_s) as served:
            yield served


@contextmanager
def _canned(rows: int, latency_s: float) -> Iterator[Served]:
    command = [sys.executable, "-m", "benchmarks.harness.server", str(rows), str(latency_s)]
    with serving_child(command) as child:
        yield Served("canned", f"http://127.0.0.1:{child.said}", child.process.pid)


@contextmanager
def _nginx(program: str, rows: int) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as taken:
        Path(folder, "page.json").write_bytes(body_of(rows))
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.close()
        config = Path(folder, "nginx.conf")
        config.write_text(_NGINX_CONF.format(folder=folder, port=port))
        with subprocess.Popen(  # noqa: S603  the machine's nginx, with a file of our own
            [program, "-c", str(config), "-p", folder], stderr=subprocess.DEVNULL
        ) as process:
            try:
                base_url = f"http://127.0.0.1:{port}"
                _wait_for(f"{base_url}/billingEngine/cost")
                yield Served("nginx", base_url, process.pid)
            finally:
                process.terminate()


def _wait_for(url: str) -> None:
    """Wait until something answers there."""
    ends_s = time.monotonic() + _PATIENCE_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=_PATIENCE_S) as answer:
                answer.read(1)
        except OSError:
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.02)
        else:
            return
