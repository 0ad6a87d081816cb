"""Cuts a byte stream into HTTP/1.1 messages, however it was chunked. Sans IO: bytes in; heads, pieces of body and ends out.

`RequestCodec` reads what clients say, `ResponseCodec` what a server answers. After the end of a message both stand still, so bytes of the
next one wait until the engine is ready. One head is read in `heads`; neither codec knows what a message means. Source: RFC 9112.
"""

import re
from functools import lru_cache

from edge_agent.protocols.http import heads
from edge_agent.protocols.http.messages import (
    MAX_CHUNK_LINE,
    MAX_EXTENSIONS,
    MAX_HEAD,
    MAX_LENGTH,
    MAX_TRAILERS,
    End,
    Headers,
    KiB,
    PeerError,
    RequestHead,
    ResponseHead,
)

MAX_INTERIM = 16  # interim responses before the final one; an honest server sends one or two
REMEMBERED = 1024  # heads of each kind
MAX_REMEMBERED = 4 * KiB  # bytes of a head that is worth remembering

# Where a codec stands
_HEAD, _LENGTH, _CHUNK_SIZE, _CHUNK_DATA, _CHUNK_END, _TRAILERS, _UNTIL_CLOSE, _ENDING, _STANDING = range(9)

_END = End()

_remembered_request = lru_cache(REMEMBERED)(heads.read_request)
_remembered_response = lru_cache(REMEMBERED)(heads.read_response)

# A line that cannot become part of a head, whatever follows: a bare LF or CR, NUL and other controls.
_hopeless = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)|[^\t\r\n\x20-\x7e\x80-\xff]").search

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
# RFC 9112 7.1.1. No white space: it is BAD there, and servers disagree on it. Behind a server's size it is padding.
_EXTENSIONS = rb'((?:;%b++(?:=(?:%b++|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+"))?+)*+)' % (
    _TOKEN,
    _TOKEN,
)
_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,16}+)%b\r\n" % _EXTENSIONS).match
_padded_chunk_line = re.compile(rb"([0-9A-Fa-f]{1,16}+)%b[ \t]*+\r\n" % _EXTENSIONS).match


class _Codec[Head: (RequestHead, ResponseHead)]:
    """What both directions share: the bytes that wait, and how a body is cut."""

    __slots__ = ("_at", "_closed", "_data", "_end", "_extensions", "_left", "_scanned", "_state")

    _fault = 400
    _chunk_line = staticmethod(_chunk_line)

    def __init__(self) -> None:
        self._data = b""  # received; from `_at` on it waits
        self._at = 0
        self._scanned = 0  # of an unfinished head or trailers: as far as they were looked at
        self._state = _HEAD
        self._left = 0  # bytes of the body or chunk that are still to come
        self._extensions = 0  # bytes of chunk extensions in this body
        self._end = _END
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Add bytes."""
        if self._at >= len(self._data):
            self._data = data
            self._scanned = 0
        else:
            self._data = self._data[self._at :] + data
            self._scanned -= self._at
        if self._at:
            self._at = 0

    def next(self) -> Head | bytes | End | None:
        """The next head, piece of body or end; None if more bytes are needed, or the message is over."""
        state = self._state
        if state == _HEAD:
            return self._head()
        if state == _ENDING:
            self._state = _STANDING
            end = self._end
            if end is not _END:
                self._end = _END
            return end
        if state == _LENGTH:
            return self._piece(_ENDING)
        if state == _STANDING:
            return None
        if state == _UNTIL_CLOSE:
            return self._rest()
        return self._chunked()

    @property
    def leftover(self) -> bytes:
        """What was received and not read: behind a message, bytes that are not of it."""
        return self._data[self._at :]

    @property
    def standing(self) -> bool:
        """True once a message is over."""
        return self._state == _STANDING

    def eof(self) -> None:
        """The peer sends no more. PeerError, here or at the `next` that lacks bytes, if a message is not whole."""
        self._closed = True
        if self._at >= len(self._data) and self._state not in (_ENDING, _STANDING, _UNTIL_CLOSE):
            self._need()

    def _head(self) -> Head | None:
        raise NotImplementedError

    def _need(self) -> None:
        """More bytes are needed; if there will be none, the message is cut short."""
        if self._closed:
            raise PeerError(self._fault, "the connection was closed in the middle of a message")

    def _raw_head(self, at: int) -> bytes | None:
        """The bytes of the head that begins at `at`, and step behind it; None if it is not whole."""
        data = self._data
        end = data.find(b"\r\n\r\n", max(at, self._scanned - 3))
        if end < 0:
            if len(data) - at > MAX_HEAD:
                self._too_large(at)
            if _hopeless(data, max(at, self._scanned - 1)):
                raise PeerError(self._fault, "a bare CR, a bare LF or a control character in a head")
            self._scanned = len(data)
            return self._need()
        end += 4
        if end - at > MAX_HEAD:
            self._too_large(at)
        self._at = end
        self._scanned = 0
        return data[at:end]

    def _too_large(self, at: int) -> None:
        if self._fault == 502:
            raise PeerError(502, f"the server's head is longer than {MAX_HEAD // KiB} KiB")
        if self._data.find(b"\r\n", at, at + MAX_HEAD) < 0:
            raise PeerError(414, f"the request line is longer than {MAX_HEAD // KiB} KiB")
        raise PeerError(431, f"the request's head is longer than {MAX_HEAD // KiB} KiB")

    # Bodies

    def _piece(self, then: int) -> bytes | None:
        """Bytes of a body, as they were received; `then` is where to go after the last."""
        data, at, left = self._data, self._at, self._left
        have = len(data) - at
        if not have:
            return self._need()
        if have <= left:
            self._data = b""
            self._at = 0
            self._left = left - have
            if have == left:
                self._state = then
            return data[at:] if at else data
        self._at = at + left
        self._left = 0
        self._state = then
        return data[at : at + left]

    def _rest(self) -> bytes | End | None:
        data, at = self._data, self._at
        if at < len(data):
            self._data = b""
            self._at = 0
            return data[at:]
        if self._closed:
            self._state = _STANDING
            return _END
        return None

    def _chunked(self) -> bytes | End | None:
        if self._state == _CHUNK_DATA:
            return self._piece(_CHUNK_END)
        if self._state == _CHUNK_END and not self._chunk_ended():
            return self._need()
        if self._state == _CHUNK_SIZE and not self._chunk_begun():
            return self._need()
        if self._state == _CHUNK_DATA:
            return self._piece(_CHUNK_END)
        trailers = self._trailers()
        if trailers is None:
            return self._need()
        self._state = _STANDING
        return End(trailers) if trailers else _END

    def _chunk_ended(self) -> bool:
        """Step over the line end behind a chunk's data; nothing else may stand there."""
        data, at = self._data, self._at
        if data.startswith(b"\r\n", at):
            self._at = at + 2
            self._state = _CHUNK_SIZE
            return True
        if len(data) - at > 1 or (len(data) > at and data[at] != 13):
            raise PeerError(self._fault, "a chunk is longer than its size says")
        return False

    def _chunk_begun(self) -> bool:
        """Read a chunk-size line, extensions and all (they are dropped)."""
        data, at = self._data, self._at
        line = self._chunk_line(data, at)
        if line is None:
            line_end = data.find(b"\n", at, at + MAX_CHUNK_LINE)
            if (
                line_end >= 0
                or len(data) - at >= MAX_CHUNK_LINE
                or (at < len(data) and data[at] not in b"0123456789abcdefABCDEF")
            ):
                raise PeerError(self._fault, "a chunk size is not a plain hexadecimal number")
            return False
        if line.end() - at > MAX_CHUNK_LINE:
            raise PeerError(self._fault, f"a chunk-size line is longer than {MAX_CHUNK_LINE} bytes")
        if line[2]:
            self._extensions += len(line[2])
            if self._extensions > MAX_EXTENSIONS:
                raise PeerError(self._fault, f"more than {MAX_EXTENSIONS // KiB} KiB of chunk extensions")
        size = int(line[1], 16)
        if size > MAX_LENGTH:
            raise PeerError(self._fault, "a chunk size beyond every memory")
        self._at = line.end()
        self._left = size
        self._state = _CHUNK_DATA if size else _TRAILERS
        return True

    def _trailers(self) -> Headers | None:
        data, at = self._data, self._at
        if data.startswith(b"\r\n", at):
            self._at = at + 2
            return ()
        end = data.find(b"\r\n\r\n", max(at, self._scanned - 3))
        if (end if end >= 0 else len(data)) - at > MAX_TRAILERS:
            raise PeerError(
                self._fault if self._fault == 502 else 431, f"more than {MAX_TRAILERS // KiB} KiB of trailers"
            )
        if end < 0:
            if _hopeless(data, max(at, self._scanned - 1)):
                raise PeerError(self._fault, "a bare CR, a bare LF or a control character in the trailers")
            self._scanned = len(data)
            return None
        self._at = end + 4
        self._scanned = 0
        return heads.read_trailers(data[at : end + 4], self._fault)

    def _begin_body(self, chunked: bool, length: int) -> None:
        if chunked:
            self._state = _CHUNK_SIZE
            self._extensions = 0
        elif length:
            self._state = _LENGTH
            self._left = length
        else:
            self._state = _ENDING


class RequestCodec(_Codec[RequestHead]):
    """A client's stream. After an `End` it stands still until `restart`; so it does behind a head that asks for an upgrade and its `End`."""

    __slots__ = ("_blank", "_last")

    def __init__(self) -> None:
        super().__init__()
        self._blank = False
        self._last = False  # the request said that it is the last of its connection

    def pass_over(self) -> None:
        """A whole request was read elsewhere: stand still behind it."""
        self._state = _STANDING

    def restart(self) -> None:
        """Read the next request; there is none behind one that closes the connection (RFC 9112 9.6)."""
        if not self._last:
            self._state = _HEAD
            self._blank = False

    def eof(self) -> None:
        """The client sends no more; between two requests that is no fault."""
        if self._state == _HEAD and self._at >= len(self._data):
            self._closed = True
            return
        super().eof()

    def _head(self) -> RequestHead | None:
        data, at = self._data, self._at
        if at >= len(data):
            return None
        first = data[at]
        if first < 33:
            at = self._step_over_blank(at)
            if at < 0:
                return None
        raw = self._raw_head(at)
        if raw is None:
            return None
        head = _remembered_request(raw) if len(raw) <= MAX_REMEMBERED else heads.read_request(raw)
        if not head.keep_alive:
            self._last = True
        if head.chunked or head.length:
            self._begin_body(head.chunked, head.length or 0)
        else:
            self._state = _ENDING
        return head

    def _step_over_blank(self, at: int) -> int:
        """Where the request line begins, -1 if that is not known yet: one empty line may stand before it (RFC 9112 2.2)."""
        if not self._blank:
            if self._data.startswith(b"\r\n", at):
                self._blank = True
                self._at = at = at + 2
                if at >= len(self._data):
                    return -1
                if self._data[at] >= 33:
                    return at
            elif self._data[at:] == b"\r":
                self._need()
                return -1
        raise PeerError(
            400, "white space, an empty line or a control character where a request should begin; is this TLS?"
        )


class ResponseCodec(_Codec[ResponseHead]):
    """A server's stream. Call `expect` with the request's method before each response; a response head below 200 is an interim one, without
    body and `End`. Behind a 101 it stands still: what follows is another protocol."""

    __slots__ = ("_interim", "_to_head")

    _fault = 502
    _chunk_line = staticmethod(_padded_chunk_line)

    def __init__(self) -> None:
        super().__init__()
        self._state = _STANDING  # whatever comes before a request is not an answer
        self._to_head = False
        self._interim = 0

    def expect(self, method: str) -> None:
        """A request with this method is being sent; its answer comes next."""
        self._to_head = method == "HEAD"
        self._interim = 0
        self._state = _HEAD

    def restart(self) -> None:
        """The answer was taken; stand until the next request."""
        self._state = _STANDING

    def _head(self) -> ResponseHead | None:
        if self._at >= len(self._data):
            self._need()
            return None
        if not b"HTTP/".startswith(self._data[self._at : self._at + 5]):
            raise PeerError(502, "the server answers with something that is not HTTP")
        raw = self._raw_head(self._at)
        if raw is None:
            return None
        read = _remembered_response if len(raw) <= MAX_REMEMBERED else heads.read_response
        head = read(raw, self._to_head)
        if head.status < 200:
            self._after_interim(head.status)
        elif head.until_close:
            self._state = _UNTIL_CLOSE
        elif head.body:
            self._begin_body(head.chunked, head.length or 0)
        else:
            self._state = _ENDING
        return head

    def _after_interim(self, status: int) -> None:
        self._interim += 1
        if status == 101:
            self._state = _STANDING
        elif self._interim > MAX_INTERIM:
            raise PeerError(502, f"more than {MAX_INTERIM} interim responses")
