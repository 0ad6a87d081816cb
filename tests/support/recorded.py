"""A recording without what differs between any two sessions, for tests that hold the same conversation in two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway_kernel.audit import AuditEvent, Body, Finished, Sending, SessionOpened, expanded, read

if TYPE_CHECKING:
    from tests.support.control_plane import ControlPlane


def recorded(plane: ControlPlane) -> list[Body]:
    """The one recording that arrived, whole and comparable."""
    (lines,) = plane.lines.values()
    events = [read(line) for line in lines]
    assert [msgspec.json.encode(event) for event in events] == lines, "a line is not what the event would be encoded to"
    return [_comparable(event) for event in expanded(events) if not isinstance(event.body, SessionOpened)]


def _comparable(event: AuditEvent) -> Body:
    body = event.body
    if isinstance(body, Finished):
        return msgspec.structs.replace(body, id=body.id.removeprefix(event.session), micros=0)
    if isinstance(body, Sending) and body.operation is not None:
        context = {**body.operation.context, "database": ""}
        operation = msgspec.structs.replace(
            body.operation, id=body.operation.id.removeprefix(event.session), context=context, sealed=b""
        )
        return msgspec.structs.replace(body, id=body.id.removeprefix(event.session), operation=operation)
    if hasattr(body, "operation") and not isinstance(body.operation, str):  # pyright: ignore[reportAttributeAccessIssue]
        operation = msgspec.structs.replace(body.operation, id="", context={}, digest="")  # pyright: ignore
        return msgspec.structs.replace(body, operation=operation)
    return body
