"""Recorded responses of HTTP are told as text, whole or cut."""

from __future__ import annotations

import gzip

import pytest

from edge_agent.protocols.http.content import PIECE
from edge_agent.protocols.http.replay import LONGEST, http_passages
from edge_agent.protocols.replay import Passage, results
from gateway_kernel.audit import ResponseRecord

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = JSON + b'Transfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n5\r\n: 1}\n\r\n0\r\n\r\n'
LONG = JSON + 'Content-Length: 14\r\n\r\n{"b": "grüße"}'.encode()


def test_chunks_are_taken_apart() -> None:
    """What the agent read is what is told."""
    (passage,) = http_passages(CHUNKED)
    assert passage == Passage("200 OK\nContent-Type: application/json\nTransfer-Encoding: chunked", '{"a": 1}\n')


def test_a_recording_that_was_cut_gives_what_is_there() -> None:
    """Anywhere: never an error, never more than was kept."""
    for whole, body in ((CHUNKED, '{"a": 1}\n'), (LONG, '{"b": "grüße"}')):
        for end in range(1, len(whole)):
            passages = http_passages(whole[:end])
            assert len(passages) == 1
            assert body.startswith(passages[0].body) or end < whole.index(b"\r\n\r\n") + 4


@pytest.mark.parametrize(
    ("body", "media_type", "text", "note"),
    [
        (b"\x89PNG\r\n\x1a\n\0", "image/png", "", "9 bytes of image/png"),
        (b"gr\xfc\xdfe", "text/plain; charset=ISO-8859-1", "grüße", ""),
        (b"gr\xfc\xdfe", "text/plain", "", "5 bytes of text/plain"),
        (b"", "text/plain", "", ""),
        (b"data: 1\n\n", "text/event-stream", "data: 1\n\n", ""),
    ],
)
def test_what_is_no_text_is_told_by_its_size(body: bytes, media_type: str, text: str, note: str) -> None:
    """By what it is, not by what it is called."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    (passage,) = http_passages(head.encode() + body)
    assert (passage.body, passage.note) == (text, note)


def test_a_compressed_body_is_told_unpacked() -> None:
    """It went to the agent as it came; a recording that was cut, or is damaged, gives what can be read."""
    body = gzip.compress(b'{"a": 1}', mtime=0)
    head = JSON + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    (passage,) = http_passages(head + body)
    assert (passage.body, passage.note) == ('{"a": 1}', f"{len(body)} bytes, gzip")
    for end in range(1, len(body)):
        (passage,) = http_passages(head + body[:end])
        assert '{"a": 1}'.startswith(passage.body)
    assert http_passages(head + bytes(len(body)))[0].body == ""
    (passage,) = http_passages(head.replace(b"gzip", b"zoo!") + body)
    assert (passage.body, passage.note) == ("", f"{len(body)} bytes, zoo!")


def test_a_bomb_is_told_by_its_beginning() -> None:
    """Whoever replays a session does not pay for what a server sent."""
    body = gzip.compress(b"a" * (64 << 20), mtime=0)
    head = JSON + f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert LONGEST // 2 < len(http_passages(head + body)[0].body) <= LONGEST + PIECE


def test_an_answer_to_head_has_none() -> None:
    """Its length speaks of what GET would have given."""
    (passage,) = http_passages(JSON + b"Content-Length: 12\r\n\r\n")
    assert (passage.body, passage.note) == ("", "")


def test_interim_responses_and_upgrades() -> None:
    """Each head is told; behind a 101 there are frames of another protocol."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    assert [each.head.split("\n")[0] for each in http_passages(early + LONG)] == ["103 Early Hints", "200 OK"]
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
    assert http_passages(switch)[-1].note == "4 bytes of websocket"


def test_what_is_no_response_is_told_as_it_is() -> None:
    """A recording is evidence, whatever is in it."""
    assert http_passages(b"not http")[0].body == "not http"
    assert http_passages(CHUNKED.replace(b"5\r\n", b"zz\r\n"))[0].body == '{"a"'


def test_the_registry_knows_the_kind() -> None:
    """One line a protocol; nothing for a kind that is not known or a body that was not kept."""
    assert results(ResponseRecord("http", LONG)) == http_passages(LONG)
    assert results(ResponseRecord("http")) == ()
    assert results(ResponseRecord("gopher", b"x")) == ()
