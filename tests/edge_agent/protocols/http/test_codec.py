"""The codec: any split of the bytes gives the same messages, garbage raises only the peer error, and other parsers agree."""

from __future__ import annotations

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocols.http import heads, second
from edge_agent.protocols.http import messages as m
from edge_agent.protocols.http.codec import MAX_INTERIM, RequestCodec, ResponseCodec
from edge_agent.protocols.http.messages import End, PeerError, RequestHead, ResponseHead
from tests.edge_agent.protocols.http import reading
from tests.edge_agent.protocols.http.reading import STRANGER

names = st.from_regex(r"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}", fullmatch=True)
texts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters=[chr(c) for c in range(0x7F, 0xA0)]),
    max_size=20,
)
values = texts.map(lambda text: text.strip(" "))
fields = st.lists(st.tuples(names, values), max_size=5).map(tuple)
cuts = st.lists(st.integers(0, 2**20), max_size=8)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[m.Headers, bytes, bytes, m.Headers]:
    """(the fields that frame it, its bytes on the wire, its content, its trailers)."""
    kind = draw(st.sampled_from(("none", "length", "chunked")))
    if kind == "none":
        return (), b"", b"", ()
    if kind == "length":
        body = draw(st.binary(max_size=60))
        return (("Content-Length", str(len(body))),), body, body, ()
    parts = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    extension = draw(st.sampled_from((b"", b";x", b';x="a\\"b";y=z')))
    trailers = draw(fields)
    wire = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts)
    return (("Transfer-Encoding", "chunked"),), wire + m.last_chunk(trailers), b"".join(parts), trailers


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes, m.Headers]:
    """(a whole request, its body, its trailers)."""
    framing, wire, body, trailers = draw(bodies())
    head = m.request_head(
        draw(st.sampled_from(("GET", "POST", "DELETE"))), "/x?y=1", (("Host", "a"), *draw(fields), *framing)
    )
    return head + wire, body, trailers


# Requests


@given(st.lists(requests(), min_size=1, max_size=4), cuts)
def test_any_split_gives_the_same_requests(wanted: list[tuple[bytes, bytes, m.Headers]], places: list[int]) -> None:
    """Pipelined, whole, cut anywhere: each waits for `restart`, and nothing of one is in the other."""
    codec = RequestCodec()
    chunks = reading.pieces(b"".join(raw for raw, _, _ in wanted), places)
    found: list[tuple[bytes, m.Headers]] = []
    body = b""
    for chunk in chunks:
        codec.feed(chunk)
        while True:
            event = codec.next()
            if isinstance(event, End):
                assert codec.standing
                assert codec.next() is None
                found.append((body, event.trailers))
                body = b""
                codec.restart()
            elif isinstance(event, bytes):
                body += event
            elif event is None:
                break
    assert found == [(body, trailers) for _, body, trailers in wanted]
    assert codec.leftover == b""


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_raises_only_the_peer_error(chunks: list[bytes]) -> None:
    """Whatever a stranger sends, alone and behind honest beginnings, in both directions."""
    for begin in (
        b"",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
    ):
        for read in (reading.request, reading.response):
            try:
                read([begin, *chunks])
            except PeerError:
                pass


_LINES = st.sampled_from(
    (
        b"GET / HTTP/1.1",
        b"POST /a?b=c HTTP/1.1",
        b"GET http://a/x HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"PUT /%2e HTTP/1.0",
        b"GET //a HTTP/1.1",
    )
)
_FIELDS = st.lists(
    st.sampled_from(
        (
            b"Host: a",
            b"host:a:80",
            b"Content-Length: 3",
            b"content-length:\t11 ",
            b"Transfer-Encoding: chunked",
            b"TRANSFER-ENCODING:Chunked",
            b"Connection: keep-alive",
            b"Connection: close, x",
            b"Connection: upgrade",
            b"Upgrade: websocket",
            b"Expect: 100-continue",
            b"X: a b\tc \xe9",
            b"X_Y:",
            b"Trailer: X",
        )
    ),
    max_size=5,
)
_BODIES = st.sampled_from(
    (
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\n\r\n",
        b"GET / HTTP/",
    )
)
_EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.sampled_from((b"", *(bytes((c,)) for c in b"\r\n\t \0:;,#/@_+-0x3A\x0b\x7f\xa0"), b"\r\n", b"\r\n ")),
    ),
    max_size=3,
)


def _edited(data: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    for place, new in edits:
        at = place % (len(data) + 1)
        data = data[:at] + new + data[at + (not new or place & 1) :]
    return data


@given(_LINES, _FIELDS, _BODIES, _EDITS)
def test_whatever_is_accepted_others_read_alike(
    line: bytes, lines: list[bytes], body: bytes, edits: list[tuple[int, bytes]]
) -> None:
    """Near-valid requests: what comes through is the same method, target, fields and body to h11 and to httptools."""
    data = _edited(b"\r\n".join([line, *([b"Host: a"] if edits else []), *lines, b"", body]), edits)
    try:
        whole = reading.request([data])
    except PeerError:
        return
    if whole is None:
        return
    message = data[: len(data) - len(whole.leftover)].removeprefix(b"\r\n")
    known = [(name.lower(), value) for name, value in whole.head.headers]
    lowered = [(name, value.lower() if name == "transfer-encoding" else value) for name, value in known]
    by_h11 = reading.by_h11(message)
    assert (by_h11.method, by_h11.headers, by_h11.body) == (whole.head.method, lowered, whole.body)
    by_httptools = reading.by_httptools(message)
    assert (by_httptools.method, by_httptools.headers) == (whole.head.method, known)
    assert by_httptools.body == whole.body or "upgrade" in dict(known)  # httptools takes it for the other protocol's
    assert by_h11.target == by_httptools.target
    assert by_h11.target.endswith(whole.head.target) or whole.head.target in (b"/", b"*")


def _head(text: str) -> RequestHead:
    return heads.read_request(text.replace("\n", "\r\n").encode("latin-1"))


def test_a_request_head() -> None:
    """Names as sent, values without outer white space, the rest what it says of the connection and the body."""
    head = _head(
        "POST /a?b HTTP/1.1\nHost:  A.example:8080\t\nx-Y: \xe9 z \nX-Y:\nContent-Length: 12\nExpect: 100-continue\nConnection: Close, X-y\n\n"
    )
    assert head == RequestHead(
        "POST",
        b"/a?b",
        1,
        (
            ("Host", "A.example:8080"),
            ("x-Y", "\xe9 z"),
            ("X-Y", ""),
            ("Content-Length", "12"),
            ("Expect", "100-continue"),
            ("Connection", "Close, X-y"),
        ),
        length=12,
        keep_alive=False,
        expects=True,
        host="a.example:8080",
        nominated=frozenset(("x-y",)),
    )


@pytest.mark.parametrize(
    ("line", "target", "host"),
    [
        ("GET http://a HTTP/1.1\nHost: a", b"/", "a"),
        ("GET http://A/?x HTTP/1.1\nHost: a", b"/?x", "a"),
        ("GET http://a?x HTTP/1.1\nHost: a:80", b"/?x", "a:80"),
        ("GET https://a:443//b HTTP/1.1\nHost: a", b"//b", "a"),
        ("OPTIONS http://a HTTP/1.1\nHost: a", b"*", "a"),
        ("OPTIONS http://a/ HTTP/1.1\nHost: a", b"/", "a"),
        ("GET http://a:81/b HTTP/1.0", b"/b", "a:81"),
        ("GET /b HTTP/1.0", b"/b", ""),
        ("GET http://[::1]:80/b HTTP/1.1\nHost: [::1]", b"/b", "[::1]"),
    ],
)
def test_absolute_targets_become_paths(line: str, target: bytes, host: str) -> None:
    """RFC 9112 3.2: by the scheme's own port, in any case; HTTP/1.0 may have no Host."""
    head = _head(line + "\n\n")
    assert (head.target, head.host) == (target, host)


@pytest.mark.parametrize(
    ("fields", "minor", "keeps", "upgrade"),
    [
        ("", 1, True, ""),
        ("", 0, False, ""),
        ("Connection: Keep-Alive\n", 0, True, ""),
        ("Connection: close\nConnection: keep-alive\n", 1, False, ""),
        ("Connection: Upgrade\nUpgrade: WebSocket\n", 1, True, "websocket"),
        ("Connection: keep-alive, upgrade\nUpgrade: h2c\nUpgrade: x/2\n", 1, True, "h2c, x/2"),
        ("Upgrade: websocket\n", 1, True, ""),
        ("Connection: upgrade\n", 1, True, ""),
        ("Connection: upgrade, keep-alive\nUpgrade: websocket\n", 0, True, ""),
        ("Connection: upgrade\nUpgrade: h2c\nContent-Length: 70000000\n", 1, True, "h2c"),
        ("Connection: upgrade\nUpgrade: h2c\nTransfer-Encoding: chunked\n", 1, True, "h2c"),
    ],
)
def test_connection_and_upgrade(fields: str, minor: int, keeps: bool, upgrade: str) -> None:
    """RFC 9112 9.3 and RFC 9110 7.8: an upgrade only where Connection names it, and never in HTTP/1.0."""
    head = _head(f"GET / HTTP/1.{minor}\nHost: a\n{fields}\n")
    assert (head.keep_alive, head.upgrade) == (keeps, upgrade)


def test_an_expectation_needs_a_body_and_http_1_1() -> None:
    """RFC 9110 10.1.1: nobody waits for 100 without a body, and HTTP/1.0 does not know it."""
    assert _head("PUT / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nExpect: 100-Continue\n\n").expects
    assert not _head("PUT / HTTP/1.1\nHost: a\nContent-Length: 0\nExpect: 100-continue\n\n").expects
    assert not _head("PUT / HTTP/1.1\nHost: a\nExpect: 100-continue\n\n").expects
    assert not _head("PUT / HTTP/1.0\nHost: a\nContent-Length: 3\nExpect: 100-continue\n\n").expects


def test_an_upgrade_leaves_what_follows_to_the_other_protocol() -> None:
    """Bytes behind the handshake are not read as a request."""
    codec = RequestCodec()
    codec.feed(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80")
    assert isinstance(codec.next(), RequestHead)
    assert codec.next() == End()
    assert codec.next() is None
    assert codec.leftover == b"\x81\x80"


def test_a_body_is_handed_on_as_it_was_received() -> None:
    """The same bytes object, for both framings and for a body that ends with the connection."""
    block = bytes(100_000)
    codec = RequestCodec()
    codec.feed(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
    codec.next()
    for _ in range(3):
        codec.feed(block)
        assert codec.next() is block
    assert codec.next() == End()
    codec.restart()
    codec.feed(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (2 * len(block)))
    codec.next()
    assert codec.next() is None
    for _ in range(2):
        codec.feed(block)
        assert codec.next() is block
    answers = ResponseCodec()
    answers.expect("GET")
    answers.feed(b"HTTP/1.1 200 OK\r\n\r\n")
    answers.next()
    answers.feed(block)
    assert answers.next() is block


def test_trailers_that_would_change_the_message_are_dropped() -> None:
    """RFC 9110 6.5.1: framing, routing and credentials cannot come late, whatever their spelling."""
    late = "Content-Length: 3\nTransfer_Encoding: chunked\nHOST: b\nAuthorization: x\nCookie: y\nContent-Type: z\nX-Sum: 7\nETag: e\n"
    whole = reading.request(
        [
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            + late.replace("\n", "\r\n").encode()
            + b"\r\n"
        ]
    )
    assert whole is not None
    assert whole.trailers == (("X-Sum", "7"), ("ETag", "e"))


def _refused(status: int, *chunks: bytes) -> None:
    for pieces in (list(chunks), reading.pieces(b"".join(chunks), list(range(0, 2**17, 4096)))):
        with pytest.raises(PeerError) as refusal:
            reading.request(pieces)
        assert refusal.value.status == status


def test_limits_of_a_request() -> None:
    """Just within is read, just beyond is refused with the status that says which, unfinished or not."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    assert reading.request([head + b"X: " + b"y" * (m.MAX_HEAD - len(head) - 7) + b"\r\n\r\n"])
    _refused(431, head + b"X: " + b"y" * (m.MAX_HEAD - len(head) - 6) + b"\r\n\r\n")
    _refused(431, head + b"X: " + b"y" * m.MAX_HEAD)
    _refused(414, b"GET /" + b"x" * m.MAX_HEAD)
    assert reading.request([head + b"X: y\r\n" * (m.MAX_HEADERS - 1) + b"\r\n"])
    _refused(431, head + b"X: y\r\n" * m.MAX_HEADERS + b"\r\n")
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    assert reading.request([chunked + b"0;" + b"x" * (m.MAX_CHUNK_LINE - 4) + b"\r\n\r\n"])
    _refused(400, chunked + b"0;" + b"x" * (m.MAX_CHUNK_LINE - 3) + b"\r\n\r\n")
    _refused(400, chunked + b"0;" + b"x" * m.MAX_CHUNK_LINE)
    assert reading.request([chunked + b"1;xxx\r\na\r\n" * (m.MAX_EXTENSIONS // 4) + b"0\r\n\r\n"])
    _refused(400, chunked + b"1;xxx\r\na\r\n" * (m.MAX_EXTENSIONS // 4 + 1) + b"0\r\n\r\n")
    assert reading.request([chunked + b"0\r\nX: " + b"y" * (m.MAX_TRAILERS - 3) + b"\r\n\r\n"])
    _refused(431, chunked + b"0\r\nX: " + b"y" * (m.MAX_TRAILERS - 2) + b"\r\n\r\n")
    _refused(431, chunked + b"0\r\nX: " + b"y" * m.MAX_TRAILERS)


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTT",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n",
    ],
)
def test_a_request_cut_short_is_no_request(begun: bytes) -> None:
    """Whether what came was read before the end was told, or not."""
    for told_first in (False, True):
        codec = RequestCodec()
        codec.feed(begun)
        with pytest.raises(PeerError):
            _drained(codec, told_first=told_first)


def _drained(codec: RequestCodec, *, told_first: bool) -> None:
    if told_first:
        codec.eof()
    while codec.next() is not None:
        pass
    codec.eof()
    codec.next()


def test_a_client_may_leave_between_requests() -> None:
    """The end is no fault before the first request, behind the last, and while its End still waits."""
    RequestCodec().eof()
    codec = RequestCodec()
    codec.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    codec.eof()
    assert isinstance(codec.next(), RequestHead)
    codec.eof()
    assert codec.next() == End()
    codec.eof()
    codec.restart()
    assert codec.next() is None


def test_nothing_follows_a_request_that_closes() -> None:
    """RFC 9112 9.6: what is sent behind it stays where it is; behind its twin it is the next request."""
    for line, follows in ((b"Connection: close\r\n", False), (b"Connection: closed\r\n", True)):
        codec = RequestCodec()
        codec.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n" + STRANGER)
        assert isinstance(codec.next(), RequestHead)
        assert codec.next() == End()
        codec.restart()
        assert isinstance(codec.next(), RequestHead) == follows
        assert codec.leftover == (b"" if follows else STRANGER)


def test_one_head_remembered_is_not_taken_for_another() -> None:
    """The same bytes give the same head; one byte less or more gives its own."""
    raw = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
    first, again, other = (reading.request([raw % number]) for number in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.head is again.head
    assert other.head.target == b"/2"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    for method, body in (("GET", b"abc"), ("HEAD", b""), ("GET", b"abc")):
        whole = reading.response([answer + b"abc"], method)
        assert whole is not None
        assert whole.body == body


# The second opinion


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PUT"},
        {"headers": (("Host", "a"), ("Content-Length", "3"), ("x", "y"))},
        {"headers": (("Host", "a"), ("X", "y"), ("Content-Length", "3"))},
        {"headers": (("Host", "a"), ("Content-Length", "3"))},
        {"length": 2},
        {"length": 4},
        {"length": 0},
        {"length": None},
        {"length": 2**62},
        {"length": None, "chunked": True},
        {"keep_alive": False},
        {"minor": 0},
    ],
)
def test_two_readings_that_differ_are_refused(other: dict[str, object]) -> None:
    """Every part that a request can be smuggled by is compared."""
    raw = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: y\r\n\r\n"
    same: dict[str, object] = {
        "method": "POST",
        "target": b"/x",
        "minor": 1,
        "headers": (("Host", "a"), ("Content-Length", "3"), ("X", "y")),
        "length": 3,
    }
    second.agree(raw, b"/x", RequestHead(**same), upgrades=False)  # pyright: ignore[reportArgumentType] - fields by name
    for target, upgrades, head in ((b"/x", False, same | other), (b"/", False, same), (b"/x", True, same)):
        with pytest.raises(PeerError, match="second parser"):
            second.agree(raw, target, RequestHead(**head), upgrades=upgrades)  # pyright: ignore[reportArgumentType]


def test_a_body_beyond_what_is_probed_is_still_awaited() -> None:
    """A length that cannot be shown in full is agreed upon as far as it was shown."""
    for length in (second.PROBED - 1, second.PROBED, second.PROBED + 1, m.MAX_LENGTH):
        assert _head(f"PUT / HTTP/1.1\nHost: a\nContent-Length: {length}\n\n").length == length


def test_every_method_is_known_to_the_second_parser() -> None:
    """And those that neither side may use are not."""
    for method in heads.METHODS:
        assert _head(f"{method} / HTTP/1.1\nHost: a\n\n").method == method
    assert not heads.METHODS & {"CONNECT", "TRACE"}


# Responses


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, m.Headers, int]:
    """(a whole response, its body, its trailers, interim heads before it)."""
    framing, wire, body, trailers = draw(bodies())
    framing = framing or (("Content-Length", "0"),)
    interim = draw(st.integers(0, 2))
    head = m.response_head(draw(st.sampled_from((200, 404, 500))), "Some Reason", (*draw(fields), *framing))
    return m.response_head(103, "Early Hints", (("Link", "</x>"),)) * interim + head + wire, body, trailers, interim


@given(
    st.sampled_from((b"HTTP/1.1 200 OK", b"HTTP/1.1 404", b"HTTP/1.0 500 x", b"HTTP/1.1 304 x")),
    _FIELDS,
    _BODIES,
    _EDITS,
)
def test_whatever_response_is_accepted_others_read_alike(
    line: bytes, lines: list[bytes], body: bytes, edits: list[tuple[int, bytes]]
) -> None:
    """Near-valid responses: h11 and httptools read the same status, fields and body, or refuse what is mended here."""
    data = _edited(b"\r\n".join([line, *lines, b"", body]), edits)
    try:
        whole = reading.response([data], closed=True)
    except PeerError:
        return
    if whole is None or whole.head.until_close or whole.head.upgrade:
        return
    message = data[: len(data) - len(whole.leftover)]
    known = [(name.lower(), value) for name, value in whole.head.headers]
    lowered = [(name, value.lower() if name == "transfer-encoding" else value) for name, value in known]
    for read in (
        lambda: reading.by_h11(message, answers="GET"),
        lambda: reading.by_httptools(message, response=True),
    ):
        try:
            peer = read()
        except (h11.RemoteProtocolError, httptools.HttpParserError):
            continue
        assert peer.headers in (known, lowered)
        assert (peer.target, peer.body) == (str(whole.head.status).encode(), whole.body)


@given(responses(), cuts)
def test_any_split_gives_the_same_response(wanted: tuple[bytes, bytes, m.Headers, int], places: list[int]) -> None:
    """Interim heads, the final one, body and trailers, and a stranger's bytes stay behind."""
    raw, body, trailers, interim = wanted
    for behind in (b"", b"HTTP/1.1 200 OK\r\n\r\n"):
        whole = reading.response(reading.pieces(raw, places) + ([behind] if behind else []))
        assert whole is not None
        assert (len(whole.interim), whole.body, whole.trailers, whole.leftover) == (interim, body, trailers, behind)


@pytest.mark.parametrize(
    ("status", "method", "fields", "body", "left"),
    [
        (200, "HEAD", "Content-Length: 5\n", b"", b"abcde"),
        (200, "HEAD", "Transfer-Encoding: chunked\n", b"", b"abcde"),
        (200, "HEAD", "", b"", b"abcde"),
        (204, "GET", "Content-Length: 5\n", b"", b"abcde"),
        (204, "DELETE", "", b"", b"abcde"),
        (304, "GET", "Content-Length: 5\n", b"", b"abcde"),
        (304, "GET", "", b"", b"abcde"),
        (205, "GET", "Content-Length: 0\n", b"", b"abcde"),
        (200, "GET", "Content-Length: 3\n", b"abc", b"de"),
        (999, "GET", "Content-Length: 5\n", b"abcde", b""),
    ],
)
def test_where_a_response_ends(status: int, method: str, fields: str, body: bytes, left: bytes) -> None:
    """RFC 9112 6.3; what a server sends beyond is reported as left over, never as a part or as the next response."""
    data = f"HTTP/1.1 {status} x\n{fields}\n".replace("\n", "\r\n").encode() + b"abcde"
    for chunks in reading.ways(data):
        whole = reading.response(chunks, method)
        if chunks == [data]:
            assert whole is not None
            assert (whole.body, whole.leftover) == (body, left)
            assert whole.head.body == bool(body or status == 205)
            assert not whole.head.until_close
            assert whole.head.keep_alive


def test_a_body_that_ends_with_the_connection() -> None:
    """Neither length nor chunks: everything until the server closes, and the connection is never used again."""
    data = b"HTTP/1.1 200 OK\r\n\r\nabc"
    for chunks in reading.ways(data):
        assert reading.response(chunks) is None
        whole = reading.response(chunks, closed=True)
        assert whole is not None
        assert whole.body == b"abc"
        assert whole.head.until_close
        assert not whole.head.keep_alive


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_a_response_cut_short_is_no_response(begun: bytes) -> None:
    """A lying length or a missing last chunk is an error of the server's, not an end."""
    for chunks in reading.ways(begun):
        with pytest.raises(PeerError) as refusal:
            reading.response(chunks, closed=True)
        assert refusal.value.status == 502


def test_a_body_received_before_the_end_was_told_is_whole() -> None:
    """The server closed; what it sent before is still read."""
    codec = ResponseCodec()
    codec.expect("GET")
    codec.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
    codec.eof()
    assert isinstance(codec.next(), ResponseHead)
    assert codec.next() == b"abc"
    assert codec.next() == End()


def test_nothing_is_an_answer_before_it_is_expected() -> None:
    """A server's bytes between two requests are left over: what is queued there would answer somebody else."""
    codec = ResponseCodec()
    codec.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert codec.next() is None
    assert codec.leftover
    codec = ResponseCodec()
    codec.expect("GET")
    codec.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert isinstance(codec.next(), ResponseHead)
    assert codec.next() == End()
    codec.restart()
    codec.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert codec.next() is None


def test_an_upgraded_connection_is_another_protocol() -> None:
    """A 101 has no End; what is behind it is left over."""
    codec = ResponseCodec()
    codec.expect("GET")
    codec.feed(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    )
    head = codec.next()
    assert isinstance(head, ResponseHead)
    assert head.upgrade == "websocket"
    assert codec.next() is None
    assert codec.leftover == b"HTTP/1.1 200 OK\r\n\r\n"


def test_limits_of_a_response() -> None:
    """Interim heads, the head, its fields."""
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
    assert reading.response([interim * MAX_INTERIM + final + b"\r\n"])
    for broken in (
        interim * (MAX_INTERIM + 1),
        final + b"X: y\r\n" * m.MAX_HEADERS + b"\r\n",
        final + b"X: " + b"y" * m.MAX_HEAD,
        b"HTTP/1.1 200 " + b"y" * m.MAX_HEAD,
    ):
        with pytest.raises(PeerError) as refusal:
            reading.response([broken])
        assert refusal.value.status == 502


def test_what_is_mended_in_a_response() -> None:
    """RFC 9112 5.1 and 5.2: a space before a colon goes, a folded line becomes one; a mended field is not a framing one."""
    whole = reading.response([b"HTTP/1.1 200 OK\r\nX : y\r\nZ: a\r\n\t b\r\n  c\r\nContent-Length: 0\r\n\r\n"])
    assert whole is not None
    assert whole.head.headers == (("X", "y"), ("Z", "a b c"), ("Content-Length", "0"))


# Writing


@given(fields)
def test_a_head_reads_back_as_it_was_written(written: m.Headers) -> None:
    """Method, target, fields in order; status and reason."""
    headers = (("Host", "a"), *written)
    assert heads.read_request(m.request_head("GET", "/x", headers)).headers == headers
    head = heads.read_response(m.response_head(404, "Not Found", headers), False)
    assert (head.status, head.reason, head.headers) == (404, "Not Found", headers)


@pytest.mark.parametrize("poison", ["\r\nX: y", "\n", "\r", "\0"])
def test_a_line_break_cannot_be_written(poison: str) -> None:
    """Response splitting: whatever brought it into a value, it does not leave."""
    for write in (
        lambda: m.request_head("GET" + poison, "/", ()),
        lambda: m.request_head("GET", "/" + poison, ()),
        lambda: m.request_head("GET", "/", (("X", "y" + poison),)),
        lambda: m.response_head(200, "OK" + poison, ()),
        lambda: m.response_head(200, "OK", (("X" + poison, "y"),)),
        lambda: m.last_chunk((("X", poison + "y"),)),
    ):
        with pytest.raises(ValueError, match="line break"):
            write()


def test_chunks() -> None:
    """An empty chunk would end the body, so there is none."""
    assert m.chunk(b"abcdefghijklmnop") == b"10\r\nabcdefghijklmnop\r\n"
    assert m.chunk(b"") == b""
    assert m.last_chunk() == b"0\r\n\r\n"
    assert m.last_chunk((("X", "y"),)) == b"0\r\nX: y\r\n\r\n"


def test_a_stranger_behind_each_kind_of_request_stays_there() -> None:
    """Without a body, with a length, with chunks."""
    for framing, body in (
        (b"", b""),
        (b"Content-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    ):
        whole = reading.request([b"GET / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n" + body + STRANGER])
        assert whole is not None
        assert whole.leftover == STRANGER
