"""COPY: data from a client that is part of a reviewed operation, data to a client that has to be masked, and what passes between.

Where people have to see the operation first, the client's data is spooled (encrypted, at most `MAX_INPUT`) and digested before anybody
is asked, and sent when it may be. Otherwise it goes on as it comes. What COPY reads and writes is judged in the kernel.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import msgspec
import postgast
from google.protobuf.message import DecodeError

from edge_agent.gateway import LimitReachedError
from edge_agent.input_spool import MAX_INPUT, InputSpool
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal
from edge_agent.protocols.postgres.copyrows import CopyMasker, CopyOptions
from edge_agent.protocols.postgres.messages import MiB, ProtocolViolationError
from edge_agent.protocols.postgres.run import Run
from edge_agent.protocols.postgres.values import ColumnPlan
from gateway_kernel.model import Operation

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.session import PostgresSession

WITHHOLD: ColumnPlan = "withhold"

type Form = Literal["text", "csv", "binary"]


class Copy(msgspec.Struct, frozen=True):
    """A COPY between server and client, as its text says."""

    from_client: bool
    form: Form
    options: CopyOptions


@lru_cache(maxsize=512)
def read_copy(text: str) -> Copy | None:
    """The COPY that is the only statement of this text and runs over the connection; None for anything else."""
    try:
        tree = postgast.parse(text)
    except (postgast.PgQueryError, DecodeError):
        return None
    if len(tree.stmts) != 1 or not tree.stmts[0].stmt.HasField("copy_stmt"):
        return None
    statement = tree.stmts[0].stmt.copy_stmt
    if statement.filename or statement.is_program:
        return None
    given: dict[str, str] = {}
    for option in statement.options:
        element = option.def_elem
        kind = element.arg.WhichOneof("node") if element.HasField("arg") else None
        given[element.defname] = (
            element.arg.string.sval if kind == "string"
            else ("true" if element.arg.boolean.boolval else "false") if kind == "boolean"
            else str(element.arg.integer.ival) if kind == "integer"
            else "true"
        )  # fmt: skip
    form = given.get("format", "text").lower()
    if form not in ("text", "csv", "binary"):
        return None
    options = CopyOptions(
        delimiter=_bytes(given.get("delimiter")),
        null=_bytes(given.get("null")),
        quote=_bytes(given.get("quote")),
        escape=_bytes(given.get("escape")),
        header=given.get("header", "false").lower() in ("true", "on", "1", "match"),
    )
    return Copy(statement.is_from, form, options)


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode()


# From the client


class CopyInput(InputSpool):
    """The data of one COPY FROM STDIN that waits, with the operation it belongs to and the message that brought it."""

    def __init__(self, operation: Operation, raw: bytes) -> None:
        super().__init__()
        self.operation = operation
        self.raw = raw


def needs_spool(session: "PostgresSession", operation: Operation) -> bool:
    """True if this is a COPY FROM STDIN that people will have to see."""
    copy = read_copy(operation.text)
    if copy is None or not copy.from_client or session.kernel.mode == "observe":
        return False
    try:
        return session.gateway.judge_only(operation, session.kernel).verdict.needs_review
    except LimitReachedError:
        return False  # the gate refuses it for the same reason


def spools(session: "PostgresSession", operation: Operation, raw: bytes) -> bool:
    """Ask the client for its data before anybody is asked about the operation; False if that is not called for."""
    if not needs_spool(session, operation):
        return False
    if session.sent:
        text = "COPY FROM STDIN that waits for a review cannot stand in a pipeline"
        session.refuse_with(refusal.error(refusal.FEATURE_NOT_SUPPORTED, text), query=True)
        return True
    session.spool = CopyInput(operation, raw)
    copy = read_copy(operation.text)
    session.to_client(m.copy_in_response(0, 1 if copy is not None and copy.form == "binary" else 0))
    return True


def message(session: "PostgresSession", kind: int, raw: bytes) -> None:
    """A message from a client whose COPY is under way, to the spool or to the server."""
    spool = session.spool
    if kind in (m.SYNC, m.FLUSH):
        return  # ignored in copy mode ("COPY Operations")
    if kind not in (m.COPY_DATA, m.COPY_DONE, m.COPY_FAIL):
        raise ProtocolViolationError(f"message {chr(kind)!r} during COPY FROM STDIN")
    if spool is None:
        session.send_raw(raw)
        if kind != m.COPY_DATA:
            session.copy = None
    elif kind == m.COPY_DATA:
        spool.add(raw[5:])
    else:
        session.spool = None
        _spooled(session, spool, failed=kind == m.COPY_FAIL)


def _spooled(session: "PostgresSession", spool: CopyInput, *, failed: bool) -> None:
    """The client's data is complete: now the operation is."""
    if failed or spool.too_large:
        spool.discard()
        error = (
            refusal.error(refusal.QUERY_CANCELED, "COPY from stdin failed: the client gave it up")
            if failed
            else refusal.error(
                refusal.PROGRAM_LIMIT_EXCEEDED,
                f"COPY data that waits for a review may have {MAX_INPUT // MiB} MiB",
                hint="Send it in parts.",
            )
        )
        session.refuse_with(error, query=True)
        return
    operation = msgspec.structs.replace(
        spool.operation, body_digest=spool.digest(), size=spool.operation.size + spool.size
    )
    run = Run(session, operation, spool.raw)
    run.spooled = spool
    session.admit(run)


def begins(session: "PostgresSession", run: Run, raw: bytes) -> bool:
    """CopyInResponse or CopyOutResponse arrived; True if the client must not see it, having sent its data already."""
    if raw[0] == m.COPY_OUT_RESPONSE:
        _mask(session, run, raw)
        return False
    if run.spooled is None:
        session.copy = run
        return False
    assert isinstance(run.spooled, CopyInput)
    for chunk in run.spooled.chunks():
        session.send_raw(m.message(m.COPY_DATA, chunk))
    session.send_raw(m.COPY_DONE_MESSAGE)
    return True


# To the client


def _mask(session: "PostgresSession", run: Run, raw: bytes) -> None:
    """The rows of COPY TO STDOUT are masked by content, and by column where the plan says so."""
    if not session.masks.needed(run):
        return
    copy = read_copy(run.operation.text)
    columns = int.from_bytes(raw[6:8])
    if copy is None:
        raise ProtocolViolationError("a COPY that cannot be masked")
    plan: list[ColumnPlan] = session.masks.plan(run, columns)
    values = session.masks.values(run)
    if copy.form == "binary" and values.detection is not None:
        plan = [WITHHOLD] * columns  # the types are not said, and what nobody can read is withheld
    masker = CopyMasker(copy.form, copy.options, [25] * columns, plan, values)
    if not masker.active:
        return

    def sink(data: bytes, start: int, end: int) -> bytes:
        masked = masker.feed(data[start + 5 : end])
        run.masked = {**values.counts, **({"columns": masker.masked} if masker.masked else {})}
        return m.message(m.COPY_DATA, masked) if masked else b""

    run.sink = sink


def ends(run: Run) -> None:
    """CopyDone from the server."""
    run.sink = None
