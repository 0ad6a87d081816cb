"""The control plane as the command line sees it: every failure is one clear line."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sallyport.ports import unused_port
from tests.sallyport.conftest import Command, run

ASKING = [
    ("agent", "list"),
    ("agent", "add", "x"),
    ("agent", "revoke", "x"),
    ("review", "list"),
    ("review", "show", "r"),
    ("review", "approve", "r"),
    ("review", "deny", "r"),
    ("policy", "push", "examples/policies/read-only.yaml"),
    ("policy", "explain", "SELECT 1"),
    ("policy", "diff", "1", "2"),
    ("sessions", "list"),
    ("sessions", "show", "s"),
    ("sessions", "replay", "s"),
    ("sessions", "export", "s"),
    ("evidence", "verify", "s"),
]
"""Every command that asks the control plane."""


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_an_unreachable_control_plane(command: tuple[str, ...], as_json: bool, monkeypatch: pytest.MonkeyPatch):
    """Exit 1, nothing on standard output, one line that says which address and what to do."""
    monkeypatch.setenv("SALLYPORT_URL", f"http://127.0.0.1:{unused_port()}")
    monkeypatch.setenv("SALLYPORT_KEY", "spm_x")
    said = run(*command, *["--json"] * as_json)
    assert (said.code, said.out) == (1, "")
    assert len(said.error.splitlines()) == 1
    assert "cannot be reached" in said.error
    assert "SALLYPORT_URL" in said.error


@pytest.mark.parametrize("url", ["nonsense", "http://[::1", "ftp://127.0.0.1"])
def test_an_address_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch):
    """The same for a wrong SALLYPORT_URL."""
    monkeypatch.setenv("SALLYPORT_URL", url)
    said = run("agent", "list")
    assert said.code == 1
    assert len(said.error.splitlines()) == 1


def test_a_key_that_is_not_known(as_admin: Command, monkeypatch: pytest.MonkeyPatch):
    """Exit 1 and a word about SALLYPORT_KEY; the key itself is not repeated."""
    monkeypatch.setenv("SALLYPORT_KEY", "spm_wrong_and_secret")
    said = as_admin("agent", "list")
    assert said.code == 1
    assert "SALLYPORT_KEY" in said.error
    assert "spm_wrong" not in said.error


def test_a_key_that_cannot_be_one(as_admin: Command, monkeypatch: pytest.MonkeyPatch):
    """A key with a letter outside ASCII is refused before it is sent."""
    monkeypatch.setenv("SALLYPORT_KEY", "schlüssel")
    said = as_admin("agent", "list")
    assert said.code == 1
    assert "printable ASCII" in said.error


@pytest.fixture
def stranger() -> Iterator[str]:
    """A web server that is no control plane."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    server = HTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_something_that_is_no_control_plane(stranger: str, monkeypatch: pytest.MonkeyPatch):
    """Exit 1, and the question whether SALLYPORT_URL is right."""
    monkeypatch.setenv("SALLYPORT_URL", stranger)
    said = run("agent", "list")
    assert said.code == 1
    assert "SALLYPORT_URL" in said.error


def test_what_up_left_is_used(as_admin: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Without variables, address and key come from SALLYPORT_HOME."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "url").write_text(os.environ["SALLYPORT_URL"] + "\n")
    (tmp_path / "keys" / "admin").write_text(os.environ["SALLYPORT_KEY"] + "\n")
    monkeypatch.delenv("SALLYPORT_URL")
    monkeypatch.delenv("SALLYPORT_KEY")
    monkeypatch.setenv("SALLYPORT_HOME", str(tmp_path))
    assert as_admin("agent", "list").code == 0
