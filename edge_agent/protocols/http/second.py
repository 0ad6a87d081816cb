"""The second opinion on a request's head: llhttp, through httptools, must have read what we read.

A head that two parsers read in two ways is how a request is smuggled past the first of them. This module has no reading of its own to
offer: it compares and refuses. It costs about 10 microseconds; `codec` remembers heads that were agreed upon.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from edge_agent.protocols.http.messages import MiB, PeerError, RequestHead

PROBED = 64 * MiB  # bytes of a body that are shown to the second parser; a longer one it must still be waiting for then

_BODY = memoryview(bytes(MiB))
_CHUNKS = b"1\r\nx\r\n0\r\n\r\n"


class _Reading:
    """What llhttp reads; httptools calls it."""

    __slots__ = ("complete", "fields", "url")

    def __init__(self) -> None:
        self.url = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_message_complete(self) -> None:
        self.complete = True


def agree(raw: bytes, target: bytes, head: RequestHead, upgrades: bool) -> None:
    """Raise PeerError 400 unless llhttp reads `raw` as `head`, with `target` as sent. `upgrades`: it must see an upgrade."""
    reading = _Reading()
    parser = HttpRequestParser(reading)
    try:
        parser.feed_data(raw[:-1])
        kept = parser.should_keep_alive()  # what it says once the head is complete is about the next message
        upgraded = False
        try:
            parser.feed_data(b"\n")
        except HttpParserUpgrade:
            upgraded = True
        fields = tuple(
            [(name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in reading.fields]
        )
        same = (
            upgraded == upgrades
            and parser.get_method() == head.method.encode()
            and reading.url == target
            and fields == head.headers
            and kept == head.keep_alive
            and parser.get_http_version() == f"1.{head.minor}"
        )
        if upgraded and (head.chunked or head.length):
            # httptools takes a body behind an upgrade for the other protocol, so it is asked about the same head without one.
            reading = _Reading()
            parser = HttpRequestParser(reading)
            parser.feed_data(_without_upgrade(raw))
        same = same and _ends_alike(parser, reading, head)
    except HttpParserError:
        raise PeerError(400, "a second parser does not read this request") from None
    if not same:
        raise PeerError(400, "a second parser reads this request in another way")


def _ends_alike(parser: HttpRequestParser, reading: _Reading, head: RequestHead) -> bool:
    """True if llhttp takes the body to be as long as we do."""
    if head.chunked:
        if reading.complete:
            return False
        parser.feed_data(_CHUNKS)
        return reading.complete
    left = head.length or 0
    if left > PROBED:
        left, whole = PROBED, False
    else:
        whole = True
    while left > 1:
        if reading.complete:
            return False
        part = min(left - 1, MiB)
        parser.feed_data(_BODY[:part])
        left -= part
    if left:
        if reading.complete:
            return False
        parser.feed_data(b"\0")
    return reading.complete == whole


def _without_upgrade(raw: bytes) -> bytes:
    lines = raw.split(b"\r\n")
    return b"\r\n".join(b"x" + line[1:] if line[:8].lower() == b"upgrade:" else line for line in lines)
