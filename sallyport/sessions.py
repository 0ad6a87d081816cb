"""`sallyport sessions`: what agents did, listed, shown, replayed and exported."""

from pathlib import Path
from typing import Annotated

import typer

from gateway_kernel.audit import read
from sallyport.client import connect, part
from sallyport.output import JsonFlag, emit, fail, fields, table, when
from sallyport.timeline import timeline

NAME = "sessions"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

SessionId = Annotated[str, typer.Argument(help="Id of the session.")]


@app.command("list")
def list_sessions(
    agent: Annotated[str | None, typer.Option(help="Only sessions of this agent.")] = None,
    resource: Annotated[str | None, typer.Option(help="Only sessions with this resource.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show sessions, newest first."""
    sessions = connect().get("/v1/sessions", agent=agent, resource=resource, limit=limit)["sessions"]
    rows = (
        (
            session["id"],
            session["agent"],
            session["resource"],
            when(session["started"]),
            when(session["ended"] or 0) or "open",
            session["operations"],
            session["denied"],
            session["masked"],
        )
        for session in sessions
    )
    columns = ("SESSION", "AGENT", "RESOURCE", "STARTED", "ENDED", "OPERATIONS", "DENIED", "MASKED")
    emit(sessions, as_json=as_json, text=[table(columns, rows)])


@app.command()
def show(session: SessionId, as_json: JsonFlag = False) -> None:
    """Show one session's totals."""
    found = connect().get(f"/v1/sessions/{part(session)}")
    emit(
        found,
        as_json=as_json,
        text=[fields({**found, "started": when(found["started"]), "ended": when(found["ended"] or 0)})],
    )


@app.command()
def replay(session: SessionId, as_json: JsonFlag = False) -> None:
    """Tell the session as it happened: each operation with verdict, people, result as the agent saw it, and outcome."""
    steps = timeline(read(line) for line in connect().lines(f"/v1/sessions/{part(session)}/events"))
    if as_json:
        emit([step.document() for step in steps], as_json=True)
        return
    emit(None, as_json=False, text=(part for step in steps for part in step.rendered()))


@app.command()
def export(
    session: SessionId,
    to: Annotated[Path | None, typer.Option("--to", "-o", help="File to write (default: SESSION.jsonl).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the recording as JSON Lines, byte for byte as it was hashed; `evidence verify` checks it offline."""
    path = to or Path(f"{session.replace('/', '-')}.jsonl")
    lines = list(connect().lines(f"/v1/sessions/{part(session)}/events"))
    try:
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    except OSError as error:
        raise fail(f"{path} cannot be written: {error.strerror}") from None
    emit({"file": str(path), "events": len(lines)}, as_json=as_json, text=[f"{len(lines)} events written to {path}"])
