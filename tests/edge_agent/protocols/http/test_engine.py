"""The HTTP room between a raw client and a raw origin: what is sent, how often, and what the recording says became of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from gateway_kernel.audit import Decided, Finished, Noted, Outcome, Sending, SessionClosed, SessionOpened
from gateway_kernel.review import State
from tests.edge_agent.protocols.http.conftest import CREDENTIAL, ok
from tests.support.control_plane import AGENT_KEY

if TYPE_CHECKING:
    import pytest

    from gateway_kernel.audit import AuditEvent
    from tests.edge_agent.protocols.http.conftest import Edge


async def finished(edge: Edge, number: int = 1) -> list[Finished]:
    """The outcomes recorded, once there are so many."""
    events = await edge.plane.events(
        lambda event: sum(isinstance(each.body, Finished) for each in edge.plane.stored()) >= number
    )
    del events
    return [event.body for event in edge.plane.stored() if isinstance(event.body, Finished)]


def kinds(events: list[AuditEvent]) -> list[type]:
    return [type(event.body) for event in events]


async def test_a_read_is_recorded_sent_with_the_injected_credential_and_answered(edge: Edge) -> None:
    """The agent's own credential stays at the edge; the upstream gets its own, and the head that was judged."""
    client = await edge.client()
    answer = await client.gets("/orders/7?x=1", "Accept: */*", "traceparent: 00-1-1-01")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n{}")
    (request,) = edge.origin.requests
    line, *headers = request.decode().split("\r\n")
    assert line == "GET /orders/7?x=1 HTTP/1.1"
    assert headers[:2] == [f"Host: 127.0.0.1:{edge.origin.port}", "Accept: */*"]
    assert f"X-Api-Key: {CREDENTIAL}" in headers
    assert AGENT_KEY not in request.decode()
    assert "traceparent" not in request.decode()
    client.leave()
    events = await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    assert kinds(events) == [SessionOpened, Sending, Finished, SessionClosed]
    sending = events[1].body
    assert isinstance(sending, Sending)
    assert sending.operation is not None
    assert sending.operation.text == f"GET /orders/7?x=1\nHost: 127.0.0.1:{edge.origin.port}\nAccept: */*\n"
    assert CREDENTIAL not in str(events)
    assert AGENT_KEY not in str(events)


async def test_a_denied_request_is_refused_and_the_connection_goes_on(edge: Edge) -> None:
    """403 as a problem document that names the rule; nothing reaches the origin."""
    client = await edge.client()
    answer = await client.gets("/secret/1")
    assert answer.startswith(b"HTTP/1.1 403 ")
    problem = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert problem["rule"] == "no-secrets"
    assert problem["detail"] == "Nobody reads it."
    assert (await client.gets("/orders")).startswith(b"HTTP/1.1 200 ")
    assert len(edge.origin.requests) == 1


async def test_an_approved_delete_runs_once(edge: Edge) -> None:
    """It waits with the connection held, and is sent when a person approves."""
    client = await edge.client()
    client.asks("DELETE", "/orders/7")
    review = await edge.plane.review()
    assert edge.origin.requests == []
    await edge.plane.settle(review, State.APPROVED)
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert [request.split(b" ")[0] for request in edge.origin.requests] == [b"DELETE"]


async def test_one_that_prefers_not_to_wait_is_told_where_to_look_and_runs_when_it_asks_again(edge: Edge) -> None:
    """202 with the place of the review; its state is there; the same request uses the approval."""
    client = await edge.client()
    client.asks("DELETE", "/orders/7", "Prefer: respond-async")
    answer = await client.hears()
    assert answer.startswith(b"HTTP/1.1 202 ")
    place = next(line for line in answer.decode().split("\r\n") if line.startswith("Location: ")).removeprefix(
        "Location: "
    )
    client.say(f"GET {place} HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {AGENT_KEY}\r\n\r\n".encode())
    assert json.loads((await client.hears()).partition(b"\r\n\r\n")[2])["state"] == "open"
    await edge.plane.settle(await edge.plane.review(), State.APPROVED)
    client.asks("DELETE", "/orders/7")
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert len(edge.origin.requests) == 1
    assert len(edge.plane.reviews) == 1


async def test_the_hold_ends_with_503_and_the_retry_joins(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, the review stands, and the same request joins it."""
    monkeypatch.setattr("edge_agent.protocols.http.exchange.HOLD", 0.05)
    client = await edge.client()
    client.asks("DELETE", "/orders/7")
    answer = await client.hears()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    await edge.plane.settle(await edge.plane.review(), State.APPROVED)
    monkeypatch.undo()
    monkeypatch.setenv("SALLYPORT_EDGE_KEY", "")
    client.asks("DELETE", "/orders/7")
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert len(edge.plane.reviews) == 1


async def test_a_small_body_is_judged_and_recorded_with_its_request(edge: Edge) -> None:
    """It is a parameter of the operation."""
    client = await edge.client()
    client.asks("POST", "/orders", "Content-Type: application/json", body=b'{"id": 7}')
    await client.hears()
    assert edge.origin.requests[0].endswith(b'\r\n\r\n{"id": 7}')
    (event,) = [event.body for event in edge.plane.stored() if isinstance(event.body, Sending)] or [
        each.body
        for each in await edge.plane.events(lambda event: isinstance(event.body, Sending))
        if isinstance(each.body, Sending)
    ]
    assert event.operation is not None
    assert [parameter.value for parameter in event.operation.parameters] == [b'{"id": 7}']


async def test_a_large_body_streams_and_its_digest_is_recorded(edge: Edge) -> None:
    """What is too large to be judged with its content goes on as it comes where no person is asked."""
    body = bytes(range(256)) * 8192
    client = await edge.client()
    client.asks("PUT", "/files/1", "Content-Type: application/octet-stream", body=body)
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert edge.origin.requests[0].endswith(body)
    await finished(edge)
    (note,) = [event.body for event in edge.plane.stored() if isinstance(event.body, Noted)]
    assert note.detail.endswith(f" {len(body)} bytes")


async def test_a_large_reviewed_body_waits_whole_and_its_digest_is_approved(edge: Edge) -> None:
    """Nothing of it is sent before a person approved its digest; then exactly it."""
    body = b"payload " * 200_000
    client = await edge.client()
    client.asks("PUT", "/reviewed/1", "Content-Type: application/octet-stream", body=body)
    review = await edge.plane.review()
    assert edge.origin.requests == []
    assert review.submission.operation.body_digest
    await edge.plane.settle(review, State.APPROVED)
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert edge.origin.requests[0].endswith(body)


async def test_a_body_beyond_what_may_wait_is_refused_on_the_record(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """413, and a decision that says so."""
    monkeypatch.setattr("edge_agent.input_spool.MAX_INPUT", 1 << 20)
    client = await edge.client()
    client.asks("PUT", "/reviewed/1", "Content-Type: application/octet-stream", body=b"x" * (2 << 20))
    assert (await client.hears()).startswith(b"HTTP/1.1 413 ")
    events = await edge.plane.events(lambda event: isinstance(event.body, Decided))
    decided = next(event.body for event in events if isinstance(event.body, Decided))
    assert decided.verdict.rules == ("operation-too-large",)
    assert edge.origin.requests == []


async def test_an_agent_that_leaves_while_people_decide_leaves_the_review(edge: Edge) -> None:
    """Coming back with the same request, it uses the approval; it ran once."""
    client = await edge.client()
    client.asks("DELETE", "/orders/7")
    review = await edge.plane.review()
    client.leave()
    await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    await edge.plane.settle(review, State.APPROVED)
    again = await edge.client()
    again.asks("DELETE", "/orders/7")
    answer = await again.hears()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert len(edge.origin.requests) == 1


async def test_an_upstream_that_dies_leaves_the_outcome_unknown_and_nothing_is_sent_again(edge: Edge) -> None:
    """502 says so; the next request gets another connection."""
    edge.origin.answer = lambda _: None
    client = await edge.client()
    client.asks("POST", "/counter")
    answer = await client.hears()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert (await finished(edge))[0].outcome is Outcome.UNKNOWN
    assert len(edge.origin.requests) == 1
    edge.origin.answer = lambda _: ok()
    assert (await client.gets("/orders")).startswith(b"HTTP/1.1 200 ")


async def test_a_response_cut_short_cuts_the_agents_connection(edge: Edge) -> None:
    """What is not whole must not be taken for whole."""
    edge.origin.answer = lambda _: (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 10\r\n\r\nhalf"
    )
    client = await edge.client()
    client.asks("GET", "/orders", "Connection: keep-alive")
    edge.origin.go.set()
    async with asyncio.timeout(20):
        head = await client.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    await edge.origin.__aexit__()
    async with asyncio.timeout(20):
        try:
            rest = await client.reader.read()
        except ConnectionError:
            rest = b"half"
    assert rest == b"half"


async def test_bytes_that_nobody_asked_for_never_reach_another_request(edge: Edge) -> None:
    """A response with another one behind it: the second is thrown away with its connection."""
    edge.origin.answer = lambda _: ok(b'{"mine": 1}') + ok(b'{"stolen": 1}')
    client = await edge.client()
    assert (await client.gets("/one")).endswith(b'{"mine": 1}')
    edge.origin.answer = lambda _: ok(b'{"mine": 2}')
    assert (await client.gets("/two")).endswith(b'{"mine": 2}')


async def test_masked_members_and_detected_values_are_hidden_and_the_length_is_right(edge: Edge) -> None:
    """By the end of a member's path, and by content."""
    edge.origin.answer = lambda _: ok(b'{"people": [{"ssn": "219-09-9999", "note": "write to ada@example.com"}]}')
    client = await edge.client()
    answer = await client.gets("/masked")
    assert b"219-09-9999" not in answer
    assert b"ada@example.com" not in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["people"][0]["ssn"] != "219-09-9999"


async def test_what_cannot_be_masked_is_withheld_and_the_outcome_is_told(edge: Edge) -> None:
    """The upstream answered; the agent learns that, and that it does not see the answer."""
    edge.origin.answer = lambda _: ok(b"\x00\x01canary", kind="application/octet-stream")
    client = await edge.client()
    answer = await client.gets("/masked")
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"canary" not in answer
    (end,) = await finished(edge)
    assert end.outcome is Outcome.COMPLETED
    assert "withheld" in end.detail


async def test_cookies_are_sealed_for_the_agent_and_opened_for_the_upstream(edge: Edge) -> None:
    """The upstream's cookie works through the edge, and its value is never seen."""
    edge.origin.answer = lambda _: ok(b"{}", "Set-Cookie: sid=upstream-session; Path=/; Domain=example.com; HttpOnly")
    client = await edge.client()
    answer = (await client.gets("/login")).decode()
    assert "upstream-session" not in answer
    cookie = next(line for line in answer.split("\r\n") if line.startswith("Set-Cookie: ")).removeprefix("Set-Cookie: ")
    assert "Domain" not in cookie
    assert "Path=/api" in cookie
    await client.gets("/me", f"Cookie: mine=1; {cookie.partition(';')[0]}")
    assert b"Cookie: mine=1; sid=upstream-session\r\n" in edge.origin.requests[-1]
    forged = cookie.partition(";")[0].replace("sid=", "other=")
    await client.gets("/me", f"Cookie: {forged}")
    assert b"upstream-session" not in edge.origin.requests[-1]


async def test_redirects_stay_on_the_edge(edge: Edge) -> None:
    """Within the resource they are moved, off it they are taken out."""
    client = await edge.client()
    for there, here in (
        ("/other?x=1", "/api/other?x=1"),
        (f"http://127.0.0.1:{edge.origin.port}/other", "http://edge/api/other"),
        ("next", "next"),
    ):
        edge.origin.answer = lambda _, there=there: ok(b"", f"Location: {there}", status="302 Found")
        assert f"Location: {here}\r\n".encode() in await client.gets("/start")
    edge.origin.answer = lambda _: ok(b"", "Location: https://elsewhere.example/token?x", status="302 Found")
    answer = await client.gets("/start")
    assert b"elsewhere.example" not in answer
    assert b"Sallyport-Withheld: location" in answer


async def test_addresses_that_can_be_read_in_two_ways_are_taken_out(edge: Edge) -> None:
    """Lenient clients read a backslash, a tab or a scheme without its slashes as the way to another host."""
    client = await edge.client()
    for header, kept in (
        ("Location: /\\evil.example/x", ""),
        ("Location: /\t/evil.example/x", ""),
        ("Location: \\\\evil.example", ""),
        ("Location: http:/evil.example/x", "http://edge/api/evil.example/x"),
        ("Location: //evil.example/x", ""),
        ("Refresh: 0,url=https://evil.example/", ""),
        ("Refresh: 0; URL='https://evil.example/'", ""),
        ("Refresh: 5; url=/next", "5; url=/api/next"),
        ("Refresh: 5", "5"),
        ("Operation-Location: https://evil.example/op", ""),
        (f"Azure-AsyncOperation: http://127.0.0.1:{edge.origin.port}/op?v=1", "http://edge/api/op?v=1"),
    ):
        edge.origin.answer = lambda _, header=header: ok(b"{}", header)
        answer = (await client.gets("/start")).decode()
        name = header.partition(":")[0]
        found = [line.partition(": ")[2] for line in answer.split("\r\n") if line.startswith(f"{name}: ")]
        assert found == ([kept] if kept else []), header
        assert bool(kept) or "Sallyport-Withheld: " in answer, header


async def test_nobody_is_served_without_a_key(edge: Edge) -> None:
    """401 with a challenge, for a missing, wrong or foreign credential."""
    client = await edge.client()
    for key in ("", "spa_k1_" + "0" * 32):
        client.asks("GET", "/orders", key=key)
        answer = await client.hears()
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b"WWW-Authenticate: Bearer" in answer
    assert edge.origin.requests == []


async def test_a_key_may_stand_where_the_api_expects_its_own(edge: Edge) -> None:
    """Client libraries send X-Api-Key; the edge takes the agent's key there and puts the upstream's in its place."""
    client = await edge.client()
    client.say(f"GET /api/orders HTTP/1.1\r\nHost: edge\r\nX-Api-Key: {AGENT_KEY}\r\n\r\n".encode())
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert AGENT_KEY.encode() not in edge.origin.requests[0]
    assert edge.origin.requests[0].count(b"X-Api-Key") == 1


async def test_the_resource_may_be_named_by_host(edge: Edge) -> None:
    """The first label of Host; links then have no prefix."""
    client = await edge.client()
    client.say(f"GET /orders HTTP/1.1\r\nHost: api.edge.example\r\nAuthorization: Bearer {AGENT_KEY}\r\n\r\n".encode())
    assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
    assert edge.origin.requests[0].startswith(b"GET /orders HTTP/1.1\r\n")


async def test_pipelined_requests_are_answered_in_order(edge: Edge) -> None:
    """One after the other, whatever comes at once."""
    edge.origin.answer = lambda request: ok(request.split(b" ")[1])
    client = await edge.client()
    for number in range(5):
        client.asks("GET", f"/{number}")
    assert [(await client.hears()).rpartition(b"\r\n")[2] for _ in range(5)] == [b"/%d" % number for number in range(5)]


async def test_a_drain_answers_what_is_under_way_and_tells_what_waits(edge: Edge) -> None:
    """The request in flight gets its response, the held one is told to come again, and both connections end."""
    edge.origin.go.clear()
    busy, held = await edge.client(), await edge.client()
    busy.asks("GET", "/slow")
    held.asks("DELETE", "/orders/7")
    await edge.origin.arrived.wait()
    await edge.plane.review()
    edge.worker.stop()
    assert (await held.hears()).startswith(b"HTTP/1.1 503 ")
    edge.origin.go.set()
    answer = await busy.hears()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert await busy.hears() == b""
