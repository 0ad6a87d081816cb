"""`sallyport evidence verify`: a recording proves itself, or the first broken link is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sallyport.conftest import Command, run


def test_a_good_recording(as_admin: Command, recording: Path, session: str):
    """A file and the session at the control plane verify alike."""
    said = run("evidence", "verify", str(recording))
    assert said.code == 0
    assert f"{recording}: VERIFIED" in said.out
    from_file, from_control_plane = (
        run("evidence", "verify", str(recording), "--json").json,
        as_admin("evidence", "verify", session, "--json").json,
    )
    assert from_file == from_control_plane
    assert (from_file["verified"], from_file["events"], from_file["closed"]) == (True, 5, True)
    assert from_file["head"] == as_admin("sessions", "show", session, "--json").json["head"]


def altered(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[2].replace(b"SELECT 3", b"SELECT 4"), *lines[3:]]


def reordered(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[2], lines[1], *lines[3:]]


def beheaded(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


def gapped(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def doubled(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def cut(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:-10]]


def curtailed(lines: list[bytes]) -> list[bytes]:
    return lines[:-1]


def garbage(lines: list[bytes]) -> list[bytes]:
    return [b"\xff\xfenot json", *lines[1:]]


@pytest.mark.parametrize(
    ("harm", "event"),
    [(altered, 3), (reordered, 1), (beheaded, 0), (gapped, 2), (doubled, 2), (cut, 4), (curtailed, 4), (garbage, 0)],
)
def test_a_harmed_recording(recording: Path, harm: Callable[[list[bytes]], list[bytes]], event: int):
    """Exit 1 and the event at which the chain breaks."""
    recording.write_bytes(b"\n".join(harm(recording.read_bytes().splitlines())) + b"\n")
    said = run("evidence", "verify", str(recording))
    assert said.code == 1
    assert "NOT VERIFIED" in said.out
    report = run("evidence", "verify", str(recording), "--json").json
    assert (report["verified"], report["event"]) == (False, event)


def test_an_open_recording_is_accepted_if_asked(recording: Path):
    """A session that still runs has no end yet; `--open` says that this is known. It does not excuse a broken chain."""
    lines = recording.read_bytes().splitlines()
    recording.write_bytes(b"\n".join(lines[:-1]))
    assert run("evidence", "verify", str(recording), "--open").code == 0
    recording.write_bytes(b"\n".join(altered(lines)[:-1]))
    assert run("evidence", "verify", str(recording), "--open").code == 1


def test_no_file_and_no_events(tmp_path: Path):
    """A wrong path is bad usage; an empty file is refused."""
    assert run("evidence", "verify", str(tmp_path / "none.jsonl")).code == 2
    (tmp_path / "empty.jsonl").write_bytes(b"")
    assert run("evidence", "verify", str(tmp_path / "empty.jsonl")).code == 1
