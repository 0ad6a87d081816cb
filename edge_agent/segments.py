"""The files of a spool on disk: names, headers, and what can still be read from them after any kind of stop.

A segment is NDJSON: one header line, then audit lines exactly as they were hashed. The header carries every session
that was open when the segment began, so older segments may be deleted once they are acknowledged, and says how long
the segment before it was, so a tail that a power cut took is noticed. What is appended and shipped, and when, is in `spool`.
"""

import contextlib
import fcntl
import hashlib
import os
from itertools import pairwise
from pathlib import Path

import msgspec

from edge_agent.ledger import Ledger, Snapshot
from gateway_kernel.audit import read

HEADER = b'{"spool":'
_SUFFIX = ".ndjson"


class SpoolDamagedError(Exception):
    """A spool cannot be opened: another process has it, or its files cannot be read. The text says which and what to do."""


class Header(msgspec.Struct, frozen=True):
    """First line of a segment. `before` is the size of the segment before it when this one began, in bytes."""

    spool: int
    segment: int
    before: int
    open: tuple[Snapshot, ...] = ()


class Found(msgspec.Struct):
    """What a spool's directory holds: segments (number -> readable bytes), the sessions still open, and damage to report."""

    segments: dict[int, int]
    ledger: Ledger
    damage: list[str]


class Cursor(msgspec.Struct, frozen=True):
    """Everything before `offset` of segment `segment` is acknowledged by the control plane."""

    segment: int = 0
    offset: int = 0


class Batch(msgspec.Struct, frozen=True):
    """Whole lines that the control plane has not acknowledged, and where the cursor stands once it has."""

    data: bytes
    after: Cursor


def path_of(directory: Path, segment: int) -> Path:
    return directory / f"{segment:012d}{_SUFFIX}"


def lock(directory: Path) -> int:
    """Take the spool for this process and return the descriptor that holds it; raise `SpoolDamagedError` if it is taken."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise SpoolDamagedError(f"{directory} is in use by another edge agent; give each its own data_dir") from None
    return descriptor


def sync_directory(directory: Path) -> None:
    """Make created and deleted names in `directory` survive the machine."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write `content` under `path` in one step: a reader sees the old file or the new one, whole."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        os.write(descriptor, content)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)


def read_cursor(directory: Path) -> Cursor:
    """The cursor as last written; the beginning if there is none. Sending lines again is harmless."""
    try:
        return msgspec.json.decode((directory / "cursor").read_bytes(), type=Cursor)
    except (FileNotFoundError, msgspec.DecodeError):
        return Cursor()


def find(directory: Path) -> Found:
    """Read what a stopped process left: cut a torn tail, set damaged parts aside, and replay the last header and its lines."""
    numbers = sorted(int(path.stem) for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
    found = Found({number: path_of(directory, number).stat().st_size for number in numbers}, Ledger(), [])
    while numbers:
        last = numbers[-1]
        header = _header(path_of(directory, last))
        before = numbers[-2] if len(numbers) > 1 else 0
        if header is None:
            _set_aside(directory, last, 0, found, "has no header: the process stopped while it began it")
        elif before == last - 1 and before in found.segments and found.segments[before] < header.before:
            _set_aside(directory, last, 0, found, f"follows segment {before}, whose end is lost")
        else:
            for older, newer in pairwise(numbers):
                following = _header(path_of(directory, newer))
                if following is not None and newer == older + 1:
                    found.segments[older] = min(found.segments[older], following.before)
            found.ledger.restore(header.open)
            found.segments[last] = _replay(directory, last, found)
            return found
        numbers.pop()
    return found


def _header(path: Path) -> Header | None:
    with path.open("rb") as file:
        line = file.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.DecodeError:
        return None


def _replay(directory: Path, segment: int, found: Found) -> int:
    """Follow the lines of `segment` into the ledger; return the length of its readable part after cutting the rest off."""
    path = path_of(directory, segment)
    with path.open("rb") as file:
        good = len(file.readline())
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                event = read(line[:-1])
            except msgspec.DecodeError:
                _set_aside(directory, segment, good, found, f"holds bytes at {good} that are no audit event")
                return good
            found.ledger.replay(event, hashlib.sha256(line[:-1]).hexdigest())
            good += len(line)
    if good < path.stat().st_size:
        os.truncate(path, good)
    return good


def _set_aside(directory: Path, segment: int, offset: int, found: Found, why: str) -> None:
    """Keep bytes that cannot be read under another name, never delete them, and cut the segment before them."""
    path = path_of(directory, segment)
    with path.open("rb") as file:
        file.seek(offset)
        rest = file.read()
    if rest.strip(b"\0"):
        replace_file(path.with_name(f"{path.stem}.{offset}.damaged"), rest)
        found.damage.append(f"spool segment {path.name} {why}; its bytes are kept beside it")
    if offset:
        os.truncate(path, offset)
        return
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    found.segments.pop(segment, None)


def sync(directory: Path, active: int, retired: list[int]) -> None:
    """Fsync older segments before the active one, so that no later line survives an earlier one, and the names of all."""
    try:
        for descriptor in retired:
            os.fdatasync(descriptor)
        os.fdatasync(active)
        if retired:
            sync_directory(directory)
    finally:
        for descriptor in retired:
            os.close(descriptor)


def read_lines(path: Path, number: int, start: int, end: int, limit: int) -> Batch:
    """Whole lines of a segment between two offsets, up to `limit` bytes but at least one, without its header."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(min(limit, end - start))
        while data and b"\n" not in data and start + len(data) < end:
            data += file.read(min(limit, end - start - len(data)))  # one line longer than a batch
    data = data[: data.rfind(b"\n") + 1]
    after = Cursor(number, start + len(data))
    if data.startswith(HEADER):
        data = data[data.index(b"\n") + 1 :]
    return Batch(data, after)
