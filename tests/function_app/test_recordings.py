"""Recordings coming in over HTTP: chained, in order, once, and out again byte for byte."""

from gateway_kernel.audit import (
    Finished,
    Noted,
    Outcome,
    Repeated,
    ResponseRecord,
    Sending,
    SessionClosed,
    operation_record,
    verdict_record,
    verify,
)
from gateway_kernel.verdict import Decision, Verdict
from tests.support.control_plane_process import ControlPlaneProcess, linked


async def test_lines_come_out_as_they_went_in(control_plane: ControlPlaneProcess):
    """The export verifies against the hash chain, and equals what was sent."""
    edge = await control_plane.new_edge()
    chain, lines = edge.recording()
    operation = edge.operation("SELECT id FROM orders")
    sending = Sending(operation.id, operation_record(operation), verdict_record(Verdict(Decision.ALLOW, ("reads",))))
    lines += linked(chain, sending, Finished(operation.id, Outcome.FAILED, "ERROR 42P01"), Noted("drain"))
    assert (await edge.ingest(lines[:2])).json == {"next": {chain.session: 2}}
    assert (await edge.ingest(lines[2:])).json == {"next": {chain.session: 4}}
    reply = await control_plane.call("GET", f"/v1/sessions/{chain.session}/events", key=control_plane.admin_key)
    assert reply.body.splitlines() == lines
    assert verify(chain.session, reply.body.splitlines()).head == chain.head
    row = await control_plane.admin("GET", f"/v1/sessions/{chain.session}")
    assert (row["operations"], row["allowed"], row["failed"], row["head"]) == (1, 1, 1, chain.head)


async def test_repeated_operations_are_counted_like_the_first(control_plane: ControlPlaneProcess):
    """The row of the session says how many there were."""
    edge = await control_plane.new_edge()
    chain, lines = edge.recording()
    operation = edge.operation("SELECT id FROM orders")
    sending = Sending(operation.id, operation_record(operation), verdict_record(Verdict(Decision.ALLOW, ("reads",))))
    rows = ResponseRecord("postgres", rows=3)
    lines += linked(chain, sending, Finished(operation.id, Outcome.COMPLETED, "SELECT 3", rows))
    lines += linked(chain, Repeated("o-2", 1), Finished("o-2", Outcome.COMPLETED, "SELECT 3", rows))
    assert (await edge.ingest(lines)).status == 200
    row = await control_plane.admin("GET", f"/v1/sessions/{chain.session}")
    assert (row["operations"], row["allowed"]) == (2, 2)


async def test_a_batch_sent_again_changes_nothing(control_plane: ControlPlaneProcess):
    """After a lost answer the edge repeats itself, whole or overlapping."""
    edge = await control_plane.new_edge()
    chain, lines = edge.recording()
    lines += linked(chain, Noted("one"), Noted("two"))
    for batch in (lines[:2], lines[:2], lines, lines):
        assert (await edge.ingest(batch)).status == 200
    row = await control_plane.admin("GET", f"/v1/sessions/{chain.session}")
    assert row["events"] == 3


async def test_gaps_forgeries_and_conflicts_are_named(control_plane: ControlPlaneProcess):
    """The problem says which session, which event, and what is expected."""
    edge = await control_plane.new_edge()
    chain, lines = edge.recording()
    lines += linked(chain, Noted("one"), Noted("two"), Noted("three"))
    await edge.ingest(lines[:2])
    gap = await edge.ingest(lines[3:])
    assert (gap.status, gap.json["type"]) == (409, "recording-gap")
    assert f"session {chain.session}, event 3: event 2 is expected next" in gap.json["detail"]
    forged = lines[2].replace(b'"two"', b'"2"')
    assert (await edge.ingest([forged])).status == 200  # a different line may continue the chain …
    assert (await edge.ingest([lines[3]])).json["type"] == "recording-tampered"  # … but not what followed the other
    assert (await edge.ingest([lines[2]])).json["type"] == "recording-conflict"
    assert (await edge.ingest([b"{}"])).json["type"] == "recording-unreadable"
    headless, more = edge.recording()
    assert (await edge.ingest(linked(headless, Noted("no head")))).json["type"] == "recording-gap"
    assert more


async def test_one_broken_session_does_not_hold_up_the_others(control_plane: ControlPlaneProcess):
    """The batch is refused by name, and every valid line of other sessions is stored."""
    edge = await control_plane.new_edge()
    broken, bad = edge.recording()
    sound, good = edge.recording()
    bad += linked(broken, Noted("a"), Noted("b"))
    good += linked(sound, Noted("a"))
    reply = await edge.ingest([bad[0], good[0], bad[2], good[1]])
    assert reply.json["type"] == "recording-gap"
    assert (await control_plane.admin("GET", f"/v1/sessions/{sound.session}"))["events"] == 2
    assert (await control_plane.admin("GET", f"/v1/sessions/{broken.session}"))["events"] == 1


async def test_an_edge_cannot_write_into_another_edges_session(control_plane: ControlPlaneProcess):
    """Neither continue it nor open one in the other's name."""
    edge, other = await control_plane.new_edge(), await control_plane.new_edge()
    chain, lines = edge.recording()
    await edge.ingest(lines)
    assert (await other.ingest(linked(chain, Noted("mine now")))).json["type"] == "foreign-session"
    _, stolen = edge.recording()
    assert (await other.ingest(stolen)).json["type"] == "foreign-session"


async def test_sessions_are_listed_by_filter_and_page(control_plane: ControlPlaneProcess):
    """Newest first; `after` continues where the page before ended."""
    edge = await control_plane.new_edge()
    made: list[str] = []
    for _ in range(5):
        chain, lines = edge.recording()
        await edge.ingest(lines + linked(chain, SessionClosed("done")))
        made.append(chain.session)
    agent, found, after = edge.session.agent.name, list[str](), ""
    while True:
        page = await control_plane.admin("GET", f"/v1/sessions?agent={agent}&limit=2&after={after}")
        found += [row["id"] for row in page["sessions"]]
        after = page["after"]
        if not after:
            break
    assert found == made[::-1]
    one = await control_plane.admin("GET", f"/v1/agents/{agent}/sessions?limit=1")
    assert [row["id"] for row in one["sessions"]] == made[-1:]
    refused = await control_plane.call("GET", "/v1/sessions?limit=99999", key=control_plane.admin_key)
    assert refused.status == 422


async def test_a_batch_that_is_too_large_is_refused(control_plane: ControlPlaneProcess):
    """Before anything of it is read."""
    edge = await control_plane.new_edge()
    assert (await edge.ingest([b"x" * (4 * 1024 * 1024 + 1)])).status == 413
