"""Start and stop, as an operator sees them."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from embedded_host.keys import read_keys
from tests.embedded_host.support import CONFORMANCE_APP, PATIENCE, HostProcess, site_of
from tests.embedded_host.test_worker import package


def refused(*arguments: str) -> str:
    """What a host that does not start says; its exit status is 1."""
    command = [sys.executable, "-m", "embedded_host", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1, done
    assert not done.stdout
    return done.stderr


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Generator[HostProcess]:
    """A running host; its data directory has a name too long for a Unix socket."""
    one = HostProcess(CONFORMANCE_APP, tmp_path_factory.mktemp("host") / ("long" * 30))
    one.start()
    yield one
    assert one.stop() == 0


def test_it_listens_on_loopback_alone_and_its_files_are_its_owners(host: HostProcess) -> None:
    """One TCP port, for the sidecar has a Unix socket; nothing in the data directory is readable by others."""
    listening = _listening(host.pid)
    assert listening == [("127.0.0.1", int(host.url.rsplit(":", 1)[1]))]
    assert stat.S_IMODE(host.data.stat().st_mode) == 0o700
    for name in ("keys.json", "durable.sqlite", "durable.sqlite-wal"):
        assert stat.S_IMODE((host.data / name).stat().st_mode) & 0o077 == 0, name


async def test_a_data_directory_with_a_long_name_works(host: HostProcess) -> None:
    """A Unix socket's path may not be long; the sidecar then has a private directory elsewhere."""
    async with site_of(host.url, host.master_key) as site:
        assert (await site.ends(await site.start("hello", "Ann")))["output"][0] == "hello Ann"


def test_one_data_directory_has_one_host(host: HostProcess) -> None:
    """The second is refused."""
    said = refused("--app", str(CONFORMANCE_APP), "--data", str(host.data), "--port", "0")
    assert "in use by another host" in said


@pytest.mark.parametrize(("app", "says"), [("nowhere", "host.json is missing"), ("bad-schedule", "day '0'")])
def test_an_app_that_cannot_be_served_is_refused_with_the_reason(tmp_path: Path, app: str, says: str) -> None:
    """In one line on stderr."""
    directory = tmp_path / app
    if app != "nowhere":
        directory.mkdir()
        more = '@app.timer_trigger(schedule="0 0 0 0 * *", arg_name="t")\ndef tick(t: func.TimerRequest): ...'
        package(directory, more)
    said = refused("--app", str(directory), "--data", str(tmp_path / "data"), "--port", "0")
    assert says in said
    assert said.startswith("error: ")


def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    """And nothing hangs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "in use" in refused("--app", str(CONFORMANCE_APP), "--data", str(tmp_path), "--port", port)


async def test_the_admin_api_lists_what_is_served(host: HostProcess) -> None:
    """With the master key; each key opens its own doors over HTTP too."""
    keys = read_keys(host.data)
    async with site_of(host.url, keys.master) as site:
        _, listed, _ = await site.ask("GET", "/admin/functions")
        assert {"name": "yearly", "trigger": "timerTrigger"} in listed
        assert (await site.ask("GET", "/admin/host/status"))[1] == {"state": "Running"}
        assert (await site.ask("POST", "/admin/functions/echo"))[0] == 400
        for key in (keys.function, keys.durabletask):
            assert (await site.ask("GET", "/admin/functions", key=key))[0] == 401
            assert (await site.ask("GET", "/api/admin-only", key=key))[0] == 401
        assert (await site.ask("POST", "/api/echo", key=keys.function))[0] == 201
        assert (await site.ask("POST", "/api/echo", key=keys.durabletask))[0] == 401
        instances = "/runtime/webhooks/durabletask/instances"
        assert (await site.ask("GET", instances, key=keys.durabletask))[0] == 200
        assert (await site.ask("GET", instances, key=keys.function))[0] == 401


@pytest.mark.parametrize(
    "query", [{"runtimeStatus": "Sleeping"}, {"top": "none"}, {"createdTimeFrom": "yesterday"}], ids=str
)
async def test_a_query_that_cannot_be_read_is_refused(host: HostProcess, query: dict[str, str]) -> None:
    """400, instead of a list that ignores the filter."""
    async with site_of(host.url, host.master_key) as site:
        assert (await site.ask("GET", "/runtime/webhooks/durabletask/instances", **query))[0] == 400


def _listening(pid: int) -> list[tuple[str, int]]:
    """The TCP sockets on which a process listens, from /proc (proc(5)): address and port."""
    owned = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found: list[tuple[str, int]] = []
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in owned:
                address, port = fields[1].split(":")
                raw = b"".join(bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8))
                found.append((socket.inet_ntop(family, raw), int(port, 16)))
    return found
