"""`sallyport sessions`: lists, totals, replay and export of recordings."""

from pathlib import Path

from gateway_kernel.audit import read, verify
from tests.sallyport.conftest import Command
from tests.support.control_plane_process import Edge


def test_list_and_show(as_admin: Command, session: str, edge: Edge):
    """A session is found by its agent, with its totals."""
    agent = edge.session.agent.name
    assert session in as_admin("sessions", "list", "--agent", agent).out
    (row,) = as_admin("sessions", "list", "--agent", agent, "--resource", edge.session.resource.name, "--json").json
    assert (row["id"], row["operations"], row["denied"]) == (session, 2, 1)
    assert "operations" in as_admin("sessions", "show", session).out
    assert as_admin("sessions", "show", session, "--json").json["events"] == 5
    assert as_admin("sessions", "list", "--agent", "nobody", "--json").json == []


def test_replay_tells_each_operation(as_admin: Command, session: str):
    """Verdict, rule, text, outcome and what was masked, in order."""
    said = as_admin("sessions", "replay", session)
    assert said.code == 0
    words = [
        "ALLOWED by reads",
        "SELECT note FROM orders",
        "completed (SELECT 3) in 1.5 ms, masked: columns 3",
        "DENIED by default",
        "not_sent",
        "session closed",
    ]
    places = [said.out.index(word) for word in words]
    assert places == sorted(places)


def test_replay_makes_hostile_text_inert(as_admin: Command, session: str):
    """Nothing that an agent wrote acts on the terminal or begins a line of ours."""
    said = as_admin("sessions", "replay", session).out
    assert "<U+202E><U+001B>[31m[red]drop[/red]<U+2066>" in said
    assert "\x1b" not in said
    assert "\n        FROM orders" in said


def test_replay_as_json(as_admin: Command, session: str):
    """One step an operation, and the notes between."""
    steps = as_admin("sessions", "replay", session, "--json").json
    told = [(step["verdict"]["decision"], step["outcome"]) for step in steps if step["operation"]]
    assert told == [("allow", "completed"), ("deny", "not_sent")]


def test_export_is_byte_for_byte(recording: Path, session: str):
    """The file holds the lines that were hashed."""
    lines = recording.read_bytes().splitlines()
    assert verify(session, lines).sequence == 5
    assert read(lines[0]).session == session


def test_export_where_nothing_can_be_written(as_admin: Command, session: str, tmp_path: Path):
    """Exit 1, and which file."""
    said = as_admin("sessions", "export", session, "--to", str(tmp_path / "no" / "where"))
    assert said.code == 1
    assert "cannot be written" in said.error


def test_a_session_that_is_not_there(as_admin: Command):
    """Exit 1 for each command."""
    for command in ("show", "replay", "export"):
        said = as_admin("sessions", command, "s-none")
        assert said.code == 1
        assert "s-none" in said.error
