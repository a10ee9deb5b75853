"""Servers for peers, each in a process of its own.

Where nginx is installed, it serves a page from a file, with the account and the day of the query
filled in. Without nginx, and for responses with a latency, `benchmarks.harness.server` does. The
CPU of both is measured, to show where a server was the limit.
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

from benchmarks.harness.server import page_body
from tests.support_processes import child_process

CHECKOUT = Path(__file__).resolve().parents[2]
_STARTS_WITHIN_S = 30.0

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
            sub_filter_types application/json;
            sub_filter_once off;
            sub_filter ACCOUNT $arg_accountId;
            sub_filter THE-DAY $arg_fromDate;
            sub_filter THE-URL $request_uri;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class RunningServer:
    """A running server.

    Attributes:
        kind: its name in tables, `nginx` or `canned`.
        base_url: its address.
        pid: id of its process.
    """

    kind: str
    base_url: str
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def nginx() -> str | None:
    """Return the path of nginx; None where it is not installed."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextmanager
def serving(
    rows: int, *, latency_s: float = 0, kind: str = "nginx", echo: bool = False
) -> Iterator[RunningServer]:
    """Run a server of pages until the block ends.

    Args:
        rows: rows a page.
        latency_s: seconds from a request to its response; not 0 needs the canned server.
        kind: the preferred server, `nginx` or `canned`.
        echo: repeat the URL of the request in the response.
    """
    program = nginx()
    if kind == "nginx" and program and not latency_s:
        with _nginx(program, rows, echo=echo) as server:
            yield server
    else:
        with _canned(rows, latency_s, echo=echo) as server:
            yield server


@contextmanager
def _canned(rows: int, latency_s: float, *, echo: bool) -> Iterator[RunningServer]:
    command = [sys.executable, "-m", "benchmarks.harness.server", str(rows), str(latency_s)]
    command += ["--echo"] * echo
    with child_process(command) as child:
        yield RunningServer("canned", f"http://127.0.0.1:{child.first_line}", child.process.pid)


@contextmanager
def _nginx(program: str, rows: int, *, echo: bool) -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as taken:
        echoed = ',"url":"THE-URL"' if echo else ""
        Path(folder, "page.json").write_bytes(page_body(rows, "ACCOUNT", "THE-DAY", echoed))
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
                yield RunningServer("nginx", base_url, process.pid)
            finally:
                process.terminate()


def _wait_for(url: str) -> None:
    """Wait until a server responds."""
    ends_s = time.monotonic() + _STARTS_WITHIN_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=_STARTS_WITHIN_S) as response:
                response.read(1)
        except OSError:
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.02)
        else:
            return
