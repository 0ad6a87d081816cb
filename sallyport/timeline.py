"""A recording told as a timeline: events that belong to one operation become one step, in the order in which they began."""

from collections.abc import Iterable
from typing import Any

import msgspec
from rich.padding import Padding

from edge_agent.protocols.replay import Grid, Passage, results
from gateway_kernel.audit import (
    AuditEvent,
    Decided,
    Finished,
    Noted,
    OperationRecord,
    Outcome,
    Pending,
    Prepared,
    Repeated,
    ResponseRecord,
    Sending,
    SessionClosed,
    SessionOpened,
    VerdictRecord,
    expanded,
)
from gateway_kernel.model import Instant, Parameter
from gateway_kernel.parse.readers import reader_for
from sallyport.output import block, line, table, when

ROWS_SHOWN = 20
"""Rows or lines of a result that a replay prints; the JSON form has all that were recorded."""

LONGEST_TEXT = 4096
"""Characters of a body that a replay prints."""

BODIES = frozenset({"http"})
"""Protocols whose parameter is the body of the operation, not a bound value."""


class Step(msgspec.Struct):
    """One operation from first to last event, or one thing that happened beside operations (`note`)."""

    at: Instant
    note: str = ""
    operation: OperationRecord | None = None
    verdict: VerdictRecord | None = None
    rewritten_from: str = ""
    review: str = ""
    grant: str = ""
    approvers: tuple[str, ...] = ()
    asked: bool = False
    observed: bool = False
    prepared: bool = False
    outcome: str = Outcome.NOT_SENT
    detail: str = ""
    response: ResponseRecord | None = None
    micros: int = 0

    def document(self) -> dict[str, Any]:
        """The step as JSON, results decoded."""
        plain = msgspec.to_builtins(self)
        if self.response is not None:
            plain["response"].pop("body", None)
            plain["results"] = [msgspec.to_builtins(each) for each in results(self.response)]
        if self.operation is not None:
            plain["operation"]["parameters"] = [_said(self.operation, each) for each in self.operation.parameters]
        return plain

    def rendered(self, rows: int = ROWS_SHOWN) -> Iterable[Any]:
        """The step as text and tables for a terminal, at most `rows` rows a table."""
        if self.operation is None:
            yield line(f"{when(self.at)}  {self.note}")
            return
        yield f"{when(self.at)}  {self._headline()}"
        if self.rewritten_from:
            yield "    sent by the agent:"
            yield block(self.rewritten_from.rstrip("\n"), " " * 8)
            yield "    rewritten to:"
        yield from _commanded(self.operation, rows)
        if self.asked or self.approvers:
            who = f"approved by {', '.join(self.approvers)}" if self.approvers else "nobody approved"
            yield f"    review {self.review or '?'}: {who}{f', grant {self.grant}' if self.grant else ''}"
        if self.verdict is not None and self.verdict.reason:
            yield line(f"    reason: {self.verdict.reason}")
        for result in results(self.response) if self.response is not None else ():
            yield from _grid(result, rows) if isinstance(result, Grid) else _passage(result, rows)
        yield line(f"    {self._ending()}")

    def _headline(self) -> str:
        verdict = self.verdict
        if verdict is None:
            return "?"
        word = (
            "would be " * self.observed + {"allow": "allowed", "deny": "denied", "review": "reviewed"}[verdict.decision]
        )
        rules = f" by {', '.join(verdict.rules)}" if verdict.rules else ""
        return f"{'prepare ' * self.prepared}{word.upper()}{rules}{', rewritten' if self.rewritten_from else ''}"

    def _ending(self) -> str:
        if self.prepared:
            return "prepared, not run"
        masked = self.response.masked if self.response is not None else {}
        hidden = f", masked: {', '.join(f'{name} {count}' for name, count in masked.items())}" if masked else ""
        took = f" in {self.micros / 1000:.1f} ms" if self.micros else ""
        return f"{self.outcome}{f' ({self.detail})' if self.detail else ''}{took}{hidden}"


def timeline(events: Iterable[AuditEvent]) -> list[Step]:
    """Gather the events of one session into steps."""
    steps: list[Step] = []
    by_operation: dict[str, Step] = {}

    def step_of(name: str, at: Instant) -> Step:
        if name not in by_operation:
            by_operation[name] = Step(at)
            steps.append(by_operation[name])
        return by_operation[name]

    for event in expanded(events):
        match event.body:
            case SessionOpened(agent=agent, resource=resource, mode=mode, edge=edge, peer=peer):
                note = f"session {event.session}: {agent.name} at {resource.name} through {edge} from {peer or '?'}, mode {mode}"
                steps.append(Step(event.at, note))
            case SessionClosed(reason=reason, operations=count):
                steps.append(Step(event.at, f"session closed: {reason} ({count} operations)"))
            case Noted(what=what, detail=detail):
                steps.append(Step(event.at, f"{what}{': ' + detail if detail else ''}"))
            case Prepared(operation=operation, verdict=verdict):
                steps.append(Step(event.at, operation=operation, verdict=verdict, prepared=True))
            case Pending() | Decided() as body:
                _told(step_of(body.operation.id, event.at), body)
            case Sending(id=id) as sending:
                _sent(step_of(id, event.at), sending)
            case Finished(id=id) as finished:
                _ended(step_of(id, event.at), finished)
            case Repeated():  # `expanded` leaves none
                pass
    return steps


def _told(step: Step, body: Pending | Decided) -> None:
    step.operation, step.verdict, step.rewritten_from = body.operation, body.verdict, body.rewritten_from
    if isinstance(body, Pending):
        step.asked = True
        return
    step.review, step.grant = body.review or step.review, body.grant or step.grant
    step.approvers, step.observed = body.approvers, body.observed


def _sent(step: Step, sending: Sending) -> None:
    step.outcome = Outcome.UNKNOWN
    if sending.operation is not None:
        step.operation, step.verdict = sending.operation, sending.verdict
        step.rewritten_from, step.observed = sending.rewritten_from, sending.observed


def _ended(step: Step, finished: Finished) -> None:
    step.outcome, step.detail = finished.outcome, finished.detail
    step.response, step.micros = finished.response, finished.micros


def _said(operation: OperationRecord, parameter: Parameter) -> str:
    if operation.protocol in BODIES:
        return body_text(parameter)
    return readable(operation.protocol, parameter)


def readable(protocol: str, parameter: Parameter) -> str:
    """A bound value for people: NULL, its text as a literal, or its bytes in hexadecimal where its text cannot be told."""
    if parameter.value is None:
        return "NULL"
    text = reader_for(protocol).parameter_text(parameter)
    return repr(text) if text is not None else f"\\x{parameter.value.hex()} (type {parameter.type})"


def _commanded(operation: OperationRecord, rows: int) -> Iterable[Any]:
    """The text of an operation with its values, or with its body behind it."""
    yield block(operation.text.rstrip("\n"), " " * 8)
    if operation.protocol not in BODIES:
        for number, parameter in enumerate(operation.parameters, 1):
            yield line(f"        ${number} = {readable(operation.protocol, parameter)}")
        return
    for parameter in operation.parameters:
        yield ""
        yield from _excerpt(body_text(parameter), rows, " " * 8)
    if operation.body_digest:
        yield line(f"        body with SHA-256 {operation.body_digest}")


def body_text(parameter: Parameter) -> str:
    """A body as text, or what it is where it is none."""
    value = parameter.value or b""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"({len(value)} bytes of {parameter.type or 'unknown type'})"


def _grid(grid: Grid, rows: int) -> Iterable[Any]:
    shown = table(grid.columns, ([_cell(cell) for cell in row] for row in grid.rows[:rows]))
    yield Padding(shown, (0, 0, 0, 4), expand=False)
    if len(grid.rows) > rows:
        yield f"    … {len(grid.rows) - rows} more rows"


def _passage(passage: Passage, rows: int) -> Iterable[Any]:
    if passage.head:
        yield block(passage.head, " " * 4)
    if passage.body:
        yield ""
        yield from _excerpt(passage.body, rows, " " * 4)
    if passage.note:
        yield line(f"    ({passage.note})")


def _excerpt(text: str, rows: int, indent: str) -> Iterable[str]:
    """At most `rows` lines of a body and at most so many characters; what is left out is counted."""
    text = text.rstrip("\n")
    lines = text[:LONGEST_TEXT].split("\n")
    yield block("\n".join(lines[:rows]), indent)
    if len(lines) > rows:
        yield f"{indent}… {text.count('\n') + 1 - rows} more lines"
    elif len(text) > LONGEST_TEXT:
        yield f"{indent}… {len(text) - LONGEST_TEXT} more characters"


def _cell(cell: str | None) -> str:
    return "NULL" if cell is None else cell


__all__ = ["Grid", "Passage", "Step", "readable", "timeline"]
