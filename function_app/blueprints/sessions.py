"""Recordings, for auditors: lists, one session, and its exact lines."""

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app.access import Call, endpoint, reply
from function_app.stores.base import StoreError

LARGEST_PAGE = 200
LARGEST_EXPORT = 32 * 1024 * 1024
"""Bytes of one answer of an export; `X-Sallyport-Next` says where the next one starts."""

blueprint = df.Blueprint()


@endpoint(blueprint, "list_sessions")
async def list_sessions(call: Call) -> func.HttpResponse:
    """Newest first. `agent`, `resource`, `since`, `until` (microseconds) filter; `after` is the last id of the page before."""
    return await _listed(call, call.query("agent"))


@endpoint(blueprint, "agent_sessions")
async def agent_sessions(call: Call) -> func.HttpResponse:
    """The same, of one agent."""
    return await _listed(call, call.path("name"))


@endpoint(blueprint, "show_session")
async def show_session(call: Call) -> func.HttpResponse:
    row = await call.services.store.sessions.get(call.path("session"))
    if row is None:
        raise StoreError("not-found", 404, f"There is no session {call.path('session')!r}.")
    return reply(row)


@endpoint(blueprint, "session_events")
async def session_events(call: Call) -> func.HttpResponse:
    """The lines as recorded, byte for byte, from `start` on: what `audit.verify` checks."""
    session = call.path("session")
    row = await call.services.store.sessions.get(session)
    if row is None:
        raise StoreError("not-found", 404, f"There is no session {session!r}.")
    start = call.number("start", 0, most=2**53)
    body, sequence = bytearray(), start
    async for line in call.services.store.sessions.lines(session, start):
        if body and len(body) + len(line) > LARGEST_EXPORT:
            break
        body += line + b"\n"
        sequence += 1
    headers = {"Cache-Control": "no-store"}
    if sequence < row.events:
        headers["X-Sallyport-Next"] = str(sequence)
    return func.HttpResponse(bytes(body), mimetype="application/x-ndjson", headers=headers)


async def _listed(call: Call, agent: str) -> func.HttpResponse:
    limit = call.number("limit", 50, most=LARGEST_PAGE)
    rows = await call.services.store.sessions.listed(
        agent=agent,
        resource=call.query("resource"),
        since=call.number("since", 0, most=2**62),
        until=call.number("until", 2**62, most=2**62),
        limit=limit,
        after=call.query("after"),
    )
    after = rows[-1].id if rows and len(rows) == limit else ""
    return reply({"sessions": msgspec.to_builtins(rows), "after": after})
