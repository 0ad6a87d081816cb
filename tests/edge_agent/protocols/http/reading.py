"""Whole messages out of a codec, of h11 and of httptools, in one form that can be compared."""

from __future__ import annotations

from typing import NamedTuple

import h11
import httptools

from edge_agent.protocols.http.codec import RequestCodec, ResponseCodec
from edge_agent.protocols.http.messages import End, Headers, RequestHead, ResponseHead

STRANGER = b"GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n"


class Whole[Head: (RequestHead, ResponseHead)](NamedTuple):
    """One message: heads before the final one, the final head, the body's bytes, the trailers, and what was behind."""

    interim: tuple[Head, ...]
    head: Head
    body: bytes
    trailers: Headers
    leftover: bytes


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data`, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def singly(data: bytes) -> list[bytes]:
    """`data`, a byte at a time."""
    return [bytes((byte,)) for byte in data]


def ways(data: bytes) -> list[list[bytes]]:
    """Whole, and byte by byte."""
    return [[data], singly(data)]


def request(chunks: list[bytes]) -> Whole[RequestHead] | None:
    """The request that these bytes are, None if they are not whole."""
    return _whole(RequestCodec(), chunks, closed=False)


def response(chunks: list[bytes], method: str = "GET", *, closed: bool = False) -> Whole[ResponseHead] | None:
    """The response that these bytes are. `closed`: the server closes behind them."""
    codec = ResponseCodec()
    codec.expect(method)
    return _whole(codec, chunks, closed=closed)


def _whole[Head: (RequestHead, ResponseHead)](
    codec: RequestCodec | ResponseCodec, chunks: list[bytes], *, closed: bool
) -> Whole[Head] | None:
    heads: list[Head] = []
    body: list[bytes] = []
    end: End | None = None
    for chunk in [*chunks, None] if closed else chunks:
        if chunk is None:
            codec.eof()
        else:
            codec.feed(chunk)
        while (event := codec.next()) is not None:
            if isinstance(event, End):
                assert end is None
                end = event
            elif isinstance(event, bytes):
                assert event, "an empty piece"
                body.append(event)
            else:
                heads.append(event)  # pyright: ignore[reportArgumentType] - which of both is the codec's type
    if end is None:
        return None
    return Whole(tuple(heads[:-1]), heads[-1], b"".join(body), end.trailers, codec.leftover)


class Peer(NamedTuple):
    """A message as another parser reads it. `target` is the request's, or the status."""

    method: str
    target: bytes
    headers: list[tuple[str, str]]
    body: bytes


def by_h11(data: bytes, *, answers: str = "") -> Peer:
    """What h11 reads; `answers` is the method that a response answers, "" for a request. Names are in lower case."""
    connection = h11.Connection(h11.CLIENT if answers else h11.SERVER, max_incomplete_event_size=1 << 20)
    if answers:
        connection.send(h11.Request(method=answers, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    method, target, headers, body = "", b"", [], b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA and answers:
            connection.receive_data(b"")
        elif isinstance(event, h11.Request):
            method, target, headers = event.method.decode(), event.target, _plain(event.headers)
        elif isinstance(event, h11.Response):
            target, headers = str(event.status_code).encode(), _plain(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return Peer(method, target, headers, body)
        elif not isinstance(event, h11.InformationalResponse):
            raise AssertionError(f"h11 is not done: {event}")


def _plain(headers: object) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]  # type: ignore[attr-defined] - h11 has no types for it


class _Reading:
    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.heads = 0
        self.ends = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.heads == self.ends:  # trailers come this way, too
            self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def by_httptools(data: bytes, *, response: bool = False) -> Peer:
    """What httptools reads of one whole message. Names are in lower case."""
    reading = _Reading()
    parser = httptools.HttpResponseParser(reading) if response else httptools.HttpRequestParser(reading)
    if response:
        parser.set_dangerous_leniencies(lenient_spaces_after_chunk_size=True)  # old servers pad with them
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    assert reading.ends == 1, f"httptools is not done: {reading.ends}"
    if isinstance(parser, httptools.HttpResponseParser):
        return Peer("", str(parser.get_status_code()).encode(), reading.headers, reading.body)
    return Peer(parser.get_method().decode(), reading.url, reading.headers, reading.body)
