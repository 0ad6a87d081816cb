"""The command line as people use it: against a real control plane, with the keys they would have."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway_kernel.audit import (
    Decided,
    Finished,
    Outcome,
    ResponseRecord,
    Sending,
    SessionClosed,
    operation_record,
    verdict_record,
)
from gateway_kernel.verdict import Decision, Verdict
from sallyport.__main__ import app
from tests.support.control_plane_process import APPROVERS, ControlPlaneProcess, Edge, linked

HOSTILE = "SELECT '\u202e\x1b[31m[red]drop[/red]\u2066'\nFROM orders"
"""A command with a bidirectional override, an escape sequence, markup of the terminal library and a line end."""


class Said:
    """What a command did: exit code, standard output, standard error."""

    def __init__(self, code: int, out: str, error: str) -> None:
        self.code = code
        self.out = out
        self.error = error

    @property
    def json(self) -> Any:
        return json.loads(self.out)


type Command = Callable[..., Said]


def run(*arguments: str, text: str = "") -> Said:
    """Run the command line in this process."""
    result = CliRunner().invoke(app, list(arguments), input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def as_admin(control_plane: ControlPlaneProcess, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line with the administrator's key."""
    monkeypatch.setenv("SALLYPORT_URL", control_plane.url)
    monkeypatch.setenv("SALLYPORT_KEY", control_plane.admin_key)
    return run


@pytest.fixture
def as_approver(control_plane: ControlPlaneProcess, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line with an approver's key."""
    monkeypatch.setenv("SALLYPORT_URL", control_plane.url)
    monkeypatch.setenv("SALLYPORT_KEY", control_plane.people[APPROVERS[0]])
    return run


@pytest.fixture
def edge(control_plane: ControlPlaneProcess) -> Edge:
    """An edge of its own, with one agent and one resource."""
    return asyncio.run(control_plane.new_edge())


@pytest.fixture
def review(control_plane: ControlPlaneProcess, edge: Edge) -> str:
    """An open review of a DELETE that one person may approve."""

    async def ask() -> str:
        _, submitted = await edge.submit("DELETE FROM orders WHERE id = 7")
        await control_plane.until_judged(submitted.review)
        return submitted.review

    return asyncio.run(ask())


@pytest.fixture
def session(edge: Edge) -> str:
    """A closed recording at the control plane: a read that was allowed, a hostile text that was denied."""
    chain, lines = edge.recording()
    read = edge.operation("SELECT note FROM orders")
    hostile = edge.operation(HOSTILE)
    allowed = verdict_record(Verdict(Decision.ALLOW, ("reads",), ("reads",), policy=edge.policy.digest))
    denied = verdict_record(Verdict(Decision.DENY, ("default",), (), policy=edge.policy.digest))
    response = ResponseRecord(rows=3, masked={"columns": 3})
    lines += linked(
        chain,
        Sending(read.id, operation_record(read), allowed),
        Finished(read.id, Outcome.COMPLETED, "SELECT 3", response, 1500),
        Decided(operation_record(hostile), denied),
        SessionClosed("the client left", 2),
    )
    assert asyncio.run(edge.ingest(lines)).status == 200
    return chain.session


@pytest.fixture
def recording(session: str, as_admin: Command, tmp_path: Path) -> Path:
    """The same as an exported file."""
    path = tmp_path / "recording.jsonl"
    assert as_admin("sessions", "export", session, "--to", str(path)).code == 0
    return path
