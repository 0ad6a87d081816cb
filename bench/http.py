"""HTTP through the gateway, with nginx and mitmdump in the same place: a reverse proxy in front of one fast origin (nginx, static files).

1 KB answers to 32 connections, and 10 MB answers to 4; policy, verdict and recording on. Rows with TLS are shown for comparison: agents and peers
speak TLS to the proxy then, which speaks plain HTTP to the origin. The load is wrk's, on one thread.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Generator
from pathlib import Path

from bench.ab import Measure, Row, rates, row
from bench.gateway import HERE, gateway, installed
from sallyport.local_postgres import self_signed
from sallyport.ports import unused_port, wait_for_port

GOALS = {"http_1k_c32_nginx": 0.25, "http_1k_c32_mitmdump": 30, "http_10m_nginx": 0.8}
RESOURCE = "origin"
MITMPROXY = "mitmproxy==12.2.3"


class Target:
    """Where wrk sends its requests, and the header that opens it."""

    def __init__(self, base: str, key: str = "") -> None:
        self.base = base
        self.headers = ["-H", f"Authorization: Bearer {key}"] if key else []


def run(rounds: int, seconds: int) -> list[Row]:
    """Measure everything; the rows of the result, the gateway's first. Without nginx or wrk there is nothing to compare with."""
    nginx, wrk = installed("nginx", "nginx-light"), installed("wrk", "wrk")
    if nginx is None or wrk is None:
        print("nginx or wrk is not installed and could not be: HTTP is not measured", file=sys.stderr)
        return []
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=HERE)))
        targets = _targets(stack, home, nginx)
        small = {name: _wrk(wrk, target, "/1k", 32, seconds) for name, target in targets.items()}
        large = {
            name: _wrk(wrk, target, "/10m", 4, seconds) for name, target in targets.items() if "mitmdump" not in name
        }
        found = rates(small, rounds)
        rows = [row("http_1k_c32_nginx", GOALS["http_1k_c32_nginx"], found["edge"], found["nginx"])]
        if "mitmdump" in found:
            rows.append(row("http_1k_c32_mitmdump", GOALS["http_1k_c32_mitmdump"], found["edge"], found["mitmdump"]))
        rows.append(row("http_1k_c32_tls_nginx", 0, found["edge tls"], found["nginx tls"]))
        found = rates(large, rounds)
        rows.append(row("http_10m_nginx", GOALS["http_10m_nginx"], found["edge"], found["nginx"]))
        rows.append(row("http_10m_tls_nginx", 0, found["edge tls"], found["nginx tls"]))
        return rows


def _targets(stack: contextlib.ExitStack, home: Path, nginx: str) -> dict[str, Target]:
    certificate, private = self_signed(home)
    origin, plain, encrypted = unused_port(), unused_port(), unused_port()
    stack.enter_context(_nginx(nginx, home, origin, plain, encrypted, certificate, private))
    targets = {
        "nginx": Target(f"http://127.0.0.1:{plain}"),
        "nginx tls": Target(f"https://127.0.0.1:{encrypted}"),
    }
    resources = {RESOURCE: {"env": "bench"}}
    entries = [{"name": RESOURCE, "upstream": f"'http://127.0.0.1:{origin}'"}]
    for name, scheme, more in (
        ("edge", "http", ""),
        ("edge tls", "https", f"tls: {{cert: {certificate}, key: {private}}}\n"),
    ):
        room = home / name.replace(" ", "-")
        room.mkdir()
        key, port = stack.enter_context(gateway(room, "http", resources, entries, more))
        targets[name] = Target(f"{scheme}://127.0.0.1:{port}/{RESOURCE}", key)
    peer = stack.enter_context(_mitmdump(home, origin))
    if peer:
        targets["mitmdump"] = Target(f"http://127.0.0.1:{peer}")
    return targets


def _wrk(binary: str, target: Target, path: str, connections: int, seconds: int) -> Measure:
    command = [
        binary,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "20s",
        *target.headers,
        f"{target.base}{path}",
    ]

    def measure() -> float:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
        if rate is None or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
            raise RuntimeError(f"wrk against {target.base}: {done.stdout.strip()}")
        return float(rate[1])

    return measure


@contextlib.contextmanager
def _nginx(
    binary: str, home: Path, origin: int, plain: int, encrypted: int, certificate: Path, private: Path
) -> Generator[None]:
    """One nginx that serves two files, and one that is a reverse proxy in front of it, each of one process."""
    files = home / "files"
    files.mkdir()
    (files / "1k").write_bytes(b"x" * 1024)
    (files / "10m").write_bytes(os.urandom(10 << 20))
    for directory in (home, files, *home.resolve().parents):
        if os.stat(directory).st_uid == os.geteuid() and directory.is_relative_to(HERE):
            directory.chmod(0o755)
    common = (
        "daemon off; worker_processes 1; error_log stderr error; events {{ worker_connections 1024; }}\npid {pid};\n"
    )
    paths = "".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    http = f"access_log off; keepalive_requests 100000000; {paths} types {{ }} default_type application/octet-stream;"
    user = "user root;" if os.geteuid() == 0 else ""
    server = f"server {{ listen 127.0.0.1:{origin}; root {files}; sendfile on; tcp_nopush on; }}"
    proxy = "location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; }"
    configs = {
        "origin.conf": f"{user}{common.format(pid=home / 'origin.pid')}http {{ {http} {server} }}",
        "proxy.conf": f"{user}{common.format(pid=home / 'proxy.pid')}http {{ {http} "
        f"upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; keepalive_requests 100000000; }} "
        f"server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{encrypted} ssl; "
        f"ssl_certificate {certificate}; ssl_certificate_key {private}; {proxy} }} }}",
    }
    with contextlib.ExitStack() as stack:
        for name, text in configs.items():
            (home / name).write_text(text)
            log = stack.enter_context((home / f"{name}.log").open("wb"))
            process = subprocess.Popen([binary, "-c", str(home / name), "-p", str(home)], stdout=log, stderr=log)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
        for port in (origin, plain, encrypted):
            wait_for_port(port)
        yield


@contextlib.contextmanager
def _mitmdump(home: Path, origin: int) -> Generator[int]:
    """mitmdump as a reverse proxy, in an environment of its own; yields its port, 0 if it cannot be had."""
    binary = shutil.which("mitmdump") or _installed_mitmdump(Path(__file__).parents[1] / ".tools" / "mitmproxy")
    if binary is None:
        print("mitmproxy cannot be installed: its row is left out", file=sys.stderr)
        yield 0
        return
    port = unused_port()
    command = [
        binary,
        "-q",
        "--mode",
        f"reverse:http://127.0.0.1:{origin}",
        "--listen-host",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with (home / "mitmdump.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--set", "flow_detail=0", "--set", f"confdir={home}/mitmproxy"], stdout=log, stderr=log
        )
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


def _installed_mitmdump(room: Path) -> str | None:
    binary = room / "bin" / "mitmdump"
    if not binary.exists():
        venv.create(room, with_pip=True, clear=True)
        command = [str(room / "bin" / "python"), "-m", "pip", "install", "--quiet", MITMPROXY]
        subprocess.run(command, check=False, timeout=600)
    return str(binary) if binary.exists() else None
