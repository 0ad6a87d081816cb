"""The codec: any split of the bytes gives the same messages, and garbage raises only the peer error."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.codec import BackendCodec, FrontendCodec, Message
from edge_agent.protocols.postgres.messages import ProtocolViolationError

names = st.binary(max_size=20).filter(lambda name: 0 not in name)
values = st.lists(st.none() | st.binary(max_size=50), max_size=5)


@st.composite
def binds(draw: st.DrawFn) -> m.Bind:
    bound = tuple(draw(values))
    formats = tuple(draw(st.lists(st.sampled_from((0, 1)), min_size=len(bound), max_size=len(bound))))
    return m.Bind(draw(names), draw(names), formats, bound, tuple(draw(st.lists(st.sampled_from((0, 1)), max_size=3))))


frontend_messages = st.one_of(
    names.map(m.query),
    st.builds(m.parse, names, names, st.lists(st.integers(0, 2**32 - 1), max_size=4)),
    binds().map(m.bind),
    st.builds(m.describe, st.sampled_from((b"S", b"P")), names),
    st.builds(m.execute, names, st.integers(0, 2**31 - 1)),
    st.builds(m.close, st.sampled_from((b"S", b"P")), names),
    st.just(m.SYNC_MESSAGE),
    st.just(m.FLUSH_MESSAGE),
    st.binary(max_size=100).map(lambda data: m.message(m.COPY_DATA, data)),
    st.integers(m.MAX_STATEMENT + 1, m.MAX_STATEMENT + 50).map(lambda size: m.message(m.QUERY, bytes(size))),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def read(chunks: list[bytes]) -> list[Message]:
    codec = FrontendCodec()
    codec.authenticated = True
    return [message for chunk in chunks for message in codec.feed(chunk)]


@given(st.lists(frontend_messages, max_size=6), st.lists(st.integers(0, 2**20), max_size=8))
def test_any_split_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    """Whole, cut anywhere, and with a stranger's bytes behind."""
    data = b"".join(messages)
    whole = read([data])
    expected = [(raw[0], raw if len(raw) - 1 <= m.MAX_STATEMENT else b"") for raw in messages]
    assert whole == expected
    assert read(pieces(data, cuts)) == whole
    assert read([data, b"Q\0\0"]) == whole
    if len(data) < 5000:
        assert read([bytes((byte,)) for byte in data]) == whole


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_garbage_raises_only_the_peer_error(chunks: list[bytes]) -> None:
    """Whatever a stranger sends, before and after authentication, and as an opening."""
    for authenticated in (False, True):
        codec = FrontendCodec()
        codec.authenticated = authenticated
        try:
            for chunk in chunks:
                for _, raw in codec.feed(chunk):
                    parse_all(raw)
        except ProtocolViolationError:
            pass
    codec = FrontendCodec()
    try:
        for chunk in chunks:
            codec.opening(chunk)
    except ProtocolViolationError:
        pass
    backend = BackendCodec()
    try:
        for chunk in chunks:
            backend.feed(chunk)
    except ProtocolViolationError:
        pass


READERS = {
    m.QUERY: m.read_query,
    m.PARSE: m.read_parse,
    m.BIND: m.read_bind,
    m.DESCRIBE: m.read_target,
    m.CLOSE: m.read_target,
    m.EXECUTE: m.read_execute,
    m.PASSWORD: m.read_password,
    m.ROW_DESCRIPTION: m.read_row_description,
    m.PARAMETER_DESCRIPTION: m.read_parameter_description,
    m.PARAMETER_STATUS: m.read_parameter_status,
    m.BACKEND_KEY_DATA: m.read_backend_key,
    m.ERROR_RESPONSE: m.read_report,
}


def parse_all(raw: bytes) -> None:
    if raw and raw[0] in READERS:
        READERS[raw[0]](raw)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=80))
def test_a_reader_reads_or_raises_the_peer_error(kind: int, body: bytes) -> None:
    """No body, however broken, raises anything else."""
    try:
        READERS[kind](m.message(kind, body))
    except ProtocolViolationError:
        pass


@given(binds())
def test_a_bind_reads_back_as_it_was_written(bound: m.Bind) -> None:
    """The bytes that are sent for a rewritten statement carry the same values."""
    assert m.read_bind(m.bind(bound)) == bound


@given(names, names, st.lists(st.integers(0, 2**32 - 1), max_size=4))
def test_a_parse_reads_back_as_it_was_written(name: bytes, text: bytes, types: list[int]) -> None:
    """Name, text and types survive."""
    assert m.read_parse(m.parse(name, text, types)) == m.Parse(name, text, tuple(types))


@given(st.dictionaries(st.text("abc_", min_size=1), st.text("xyz 1", max_size=9), max_size=4), st.data())
def test_a_startup_message_in_any_pieces(parameters: dict[str, str], data: st.DataObject) -> None:
    """Openings come out once they are whole; what follows stays."""
    raw = m.startup(parameters, m.PROTOCOL_3_2)
    cut = data.draw(st.integers(0, len(raw)))
    codec = FrontendCodec()
    first = codec.opening(raw[:cut])
    second = first if first is not None else codec.opening(raw[cut:])
    assert second == m.Startup(2, parameters)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (m.SSL_REQUEST_MESSAGE, m.SSL_REQUEST),
        (struct.pack("!II", 8, m.GSSENC_REQUEST), m.GSSENC_REQUEST),
        (m.cancel_request(7, b"four"), m.Cancel(7, b"four")),
        (m.cancel_request(7, b"x" * 32), m.Cancel(7, b"x" * 32)),
    ],
)
def test_openings(raw: bytes, what: object) -> None:
    """Encryption requests and both lengths of cancel keys."""
    assert FrontendCodec().opening(raw) == what


@pytest.mark.parametrize(
    "raw",
    [
        b"\0\0\0\7",
        struct.pack("!I", m.MAX_STARTUP + 1),
        struct.pack("!II", 8, 2 << 16),
        struct.pack("!II", 12, m.SSL_REQUEST) + b"abcd",
        struct.pack("!III", 12, m.CANCEL_REQUEST, 1),
        struct.pack("!II", 13, m.PROTOCOL_3_0) + b"user\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_broken_openings_raise(raw: bytes) -> None:
    """Wrong lengths, other protocols, requests with a body."""
    with pytest.raises(ProtocolViolationError):
        FrontendCodec().opening(raw)


def test_nothing_but_a_password_before_authentication() -> None:
    """A Query from nobody is a breach, and so is a password longer than any token."""
    for raw in (m.query(b"SELECT 1"), struct.pack("!BI", m.PASSWORD, m.MAX_PASSWORD + 1)):
        with pytest.raises(ProtocolViolationError):
            FrontendCodec().feed(raw)
    assert FrontendCodec().feed(m.message(m.PASSWORD, b"x\0")) == [(m.PASSWORD, m.message(m.PASSWORD, b"x\0"))]


def test_an_unfinished_message_is_not_kept_beyond_its_size() -> None:
    """What is too large is never collected."""
    codec = FrontendCodec()
    codec.authenticated = True
    assert codec.feed(struct.pack("!BI", m.QUERY, 2 * m.MAX_STATEMENT)) == [(m.QUERY, b"")]
    codec.feed(bytes(m.MAX_STATEMENT))
    assert codec.buffered == 0
