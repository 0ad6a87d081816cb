"""`sallyport evidence`: checking a recording without trusting whoever stores it."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from gateway_kernel.audit import AuditEvent, SessionClosed, read, verify
from gateway_kernel.errors import TamperedError
from sallyport.client import connect, part
from sallyport.output import BAD_USAGE, REFUSED, JsonFlag, emit, fail

NAME = "evidence"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def evidence() -> None:
    """Evidence: recordings that prove themselves."""


@app.command("verify")
def verify_recording(
    recording: Annotated[str, typer.Argument(help="A file made by `sessions export`, or the id of a session.")],
    still_open: Annotated[bool, typer.Option("--open", help="Accept a recording without its last event.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Walk the hash chain of a recording; name the first broken link, or say that the end is missing. Exit 1 in both cases."""
    path = Path(recording)
    if path.is_file():
        lines = [line for line in path.read_bytes().split(b"\n") if line]
    elif "/" in recording or recording.endswith(".jsonl"):
        raise fail(f"{recording}: there is no such file", BAD_USAGE)
    else:
        lines = list(connect().lines(f"/v1/sessions/{part(recording)}/events"))
    if not lines:
        raise fail(f"{recording}: holds no event")
    report = verified(lines, still_open=still_open)
    if report["verified"]:
        standing = f"VERIFIED, {report['events']} events of session {report['session']}, head {report['head']}"
    else:
        standing = f"NOT VERIFIED: {report['problem']}"
    emit(report, as_json=as_json, text=[f"{recording}: {standing}"])
    if not report["verified"]:
        raise typer.Exit(REFUSED)


def verified(lines: list[bytes], *, still_open: bool = False) -> dict[str, Any]:
    """What can be said of a recording: `verified`, and the first problem with its event's number."""
    try:
        first = _first(lines[0])
        chain = verify(first.session, lines)
    except TamperedError as error:
        return {"verified": False, "session": error.session, "event": error.sequence, "problem": str(error)}
    closed = isinstance(read(lines[-1]).body, SessionClosed)
    report: dict[str, Any] = {
        "verified": closed or still_open,
        "session": first.session,
        "events": chain.sequence,
        "head": chain.head,
        "closed": closed,
    }
    if not report["verified"]:
        report |= {
            "event": chain.sequence,
            "problem": f"its end is missing after {chain.sequence} events; --open accepts that",
        }
    return report


def _first(line: bytes) -> AuditEvent:
    try:
        return read(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TamperedError("?", 0, f"is not an audit event: {error}") from error
