"""`sallyport evidence`: checking a recording without trusting whoever stores it."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway_kernel.audit import AuditEvent, SessionClosed, read, verify
from gateway_kernel.errors import TamperedError
from sallyport.client import connect
from sallyport.output import BAD_USAGE, REFUSED, JsonFlag, emit, fail

NAME = "evidence"
app = typer.Typer(help="Evidence: recordings that prove themselves.", no_args_is_help=True)


@app.callback()
def evidence() -> None:
    """Evidence: recordings that prove themselves."""


@app.command("verify")
def verify_recording(
    recording: Annotated[str, typer.Argument(help="A file made by `sessions export`, or the id of a session.")],
    as_json: JsonFlag = False,
) -> None:
    """Walk the hash chain of a recording; name the first broken link. Exit 1 if there is one."""
    path = Path(recording)
    if path.is_file():
        lines = [line for line in path.read_bytes().split(b"\n") if line]
    elif "/" in recording or recording.endswith(".jsonl"):
        raise fail(f"{recording}: there is no such file", BAD_USAGE)
    else:
        lines = list(connect().lines(f"/v1/sessions/{recording}/events"))
    if not lines:
        raise fail(f"{recording}: holds no event")
    emit_report(recording, lines, as_json=as_json)


def emit_report(name: str, lines: list[bytes], *, as_json: bool) -> None:
    """Verify `lines` and say so; exit 1 at the first broken link."""
    try:
        first = _first(lines[0])
        chain = verify(first.session, lines)
    except TamperedError as error:
        emit(
            {"verified": False, "session": error.session, "sequence": error.sequence, "problem": error.what},
            as_json=as_json,
            text=[f"{name}: NOT VERIFIED: {error}"],
        )
        raise typer.Exit(REFUSED) from None
    closed = isinstance(read(lines[-1]).body, SessionClosed)
    standing = "closed" if closed else "still open, or its tail is missing"
    emit(
        {"verified": True, "session": first.session, "events": chain.sequence, "head": chain.head, "closed": closed},
        as_json=as_json,
        text=[f"{name}: {chain.sequence} events verify, session {standing}, head {chain.head}"],
    )


def _first(line: bytes) -> AuditEvent:
    try:
        return read(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TamperedError("?", 0, f"is not an audit event: {error}") from error
