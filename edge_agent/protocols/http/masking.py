"""What becomes of the body and headers of a response: read and masked, passed as they are, or withheld.

The maskers are the kernel's; this module says which of them reads a body, by its media type, and what of the head no longer holds once it has.
While anything masks, what cannot be read is withheld: an unknown coding or character set, a part of a content, several parts in one. Under column
masks so is text that has values without names (CSV). Binary content passes only where every mask says so.
"""

import re
from collections import Counter
from typing import NamedTuple

from edge_agent.detection import detection as compiled
from edge_agent.protocols.http.content import Decoder, codings, known
from edge_agent.protocols.http.links import Links, LinkSink
from edge_agent.protocols.http.messages import Headers
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.event_stream import EventStreamMasker
from gateway_kernel.masking.json_lines import JsonLinesMasker
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.masking.messages import MessageMasker, TextMasker
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.masking.stream import Gathering, Stream
from gateway_kernel.verdict import ColumnMask, Obligations

_LINES = frozenset(
    {
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/jsonlines", "application/x-jsonlines",
        "application/x-jsonl", "application/json-seq", "application/geo+json-seq", "application/stream+json", "application/x-json-stream",
    }
)  # fmt: skip
_JSON = frozenset({"application/json", "text/json", "application/x-json", "text/x-json"})
_TEXT = frozenset(
    {
        "application/xml", "application/javascript", "application/x-javascript", "application/ecmascript", "application/x-www-form-urlencoded",
        "application/yaml", "application/x-yaml", "application/toml", "application/sql", "application/graphql", "application/csv",
        "application/x-sh", "application/xml-dtd", "application/x-tex", "application/rtf", "application/x-httpd-php",
    }
)  # fmt: skip
_NAMELESS = frozenset({"text/csv", "application/csv", "text/tab-separated-values", "text/comma-separated-values"})
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")  # RFC 6838 4.2
_CHARSET = re.compile(r""";[ \t]*charset[ \t]*=[ \t]*["']?([^"';\s]*)""", re.IGNORECASE)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"})

DROPPED = frozenset(
    {
        "content-length", "content-encoding", "etag", "content-md5", "digest", "content-digest", "repr-digest",
        "accept-ranges", "content-range", "want-digest", "signature", "signature-input", "x-ms-content-crc64",
    }
)  # fmt: skip
"""Headers that say something of a body that is not given out as it came."""
_RELINKED = DROPPED - {"etag", "accept-ranges", "content-range"}  # it is still the same content
_DECODED = "content-encoding"

_UNMASKED = frozenset(
    {
        "content-length", "transfer-encoding", "connection", "keep-alive", "trailer", "upgrade", "content-type", "content-encoding", "date", "vary",
        "sec-websocket-accept", "sec-websocket-protocol", "set-cookie", "www-authenticate",
    }
)  # fmt: skip
"""Headers of framing; cookies, which are sealed; and the challenge, which names no secret but looks like one."""

_MEMORY: dict[tuple[tuple[ColumnMask, ...], int], Members] = {}
_REMEMBERED = 64


class Sink(Gathering):
    """Takes a body as it comes from the upstream, gives it as it goes to the agent. After an error every further call raises it again."""

    __slots__ = ("_decoder", "_links", "_masker", "counts")

    def __init__(self, decoder: Decoder | None, masker: Stream | None, links: LinkSink | None) -> None:
        super().__init__()
        self._decoder = decoder
        self._masker = masker
        self._links = links
        self.counts: Counter[str] = Counter() if masker is None else masker.counts

    def feed(self, data: bytes) -> list[bytes]:
        """What of the body can no longer change. UnmaskableError where it cannot be read; nothing behind that place is given out, ever."""
        return self._gather(data)

    def finish(self) -> list[bytes]:
        """The body has ended. UnmaskableError if it is not whole."""
        return self._gather(b"", final=True)

    def _read(self, chunk: bytes, out: list[bytes], final: bool) -> None:
        for piece in (chunk,) if self._decoder is None else self._decoder.feed(chunk):
            self._give(piece if self._masker is None else self._masker.feed(piece), out)
        if not final:
            return
        if self._decoder is not None:
            self._decoder.finish()
        if self._masker is not None:
            self._give(self._masker.finish(), out)
        if self._links is not None and (rest := self._links.finish()):
            out.append(rest)

    def _give(self, piece: bytes, out: list[bytes]) -> None:
        if piece and self._links is not None:
            piece = self._links.feed(piece)
        if piece:
            out.append(piece)


class BodyPlan(NamedTuple):
    """What becomes of a body. `sink` None: it goes untouched. `withheld`: why it does not go at all. `dropped`: headers that no longer hold."""

    sink: Sink | None = None
    withheld: str = ""
    dropped: frozenset[str] = frozenset()


_UNTOUCHED = BodyPlan()


def plan(
    status: int,
    headers: Headers,
    obligations: Obligations | None,
    keys: MaskingKeys | None,
    links: Links | None = None,
    *,
    body: bool = True,
) -> BodyPlan:
    """How the body of this response goes to the agent. `body` False: there is none (HEAD, 204, 304), and its head tells of it all the same."""
    given = _Kind.of(headers)
    if obligations is None or not obligations.masks:
        return _relinked(status, given, links)
    made = _masked(status, given, obligations, keys, links)
    return made if body or not made.withheld else BodyPlan(dropped=DROPPED)


class _Kind(NamedTuple):
    """What the head says of the body."""

    types: tuple[str, ...]
    charset: str  # one that is not read, "" if there is none
    codings: tuple[str, ...]
    partial: bool

    @classmethod
    def of(cls, headers: Headers) -> "_Kind":
        types: list[str] = []
        encoded: list[str] = []
        charset, partial = "", False
        for name, value in headers:
            match name.lower():
                case "content-type":
                    types.append(value.partition(";")[0].strip().lower())
                    named = [each.lower() for each in _CHARSET.findall(value)]
                    charset = next((each for each in named if each not in _CHARSETS), charset)
                case "content-encoding":
                    encoded.append(value)
                case "content-range":
                    partial = True
                case _:
                    pass
        return cls(tuple(types), charset, codings(",".join(encoded)), partial)

    @property
    def media(self) -> str:
        """The media type, "" if there is none or more than one."""
        return self.types[0] if len(self.types) == 1 else ""

    @property
    def form(self) -> str:
        """Which kind of masker reads it: json, events, text; "" for what none reads."""
        media = self.media
        if media == "text/event-stream":
            return "events"
        if media in _JSON or media in _LINES or media.endswith(("+json", "+json-seq")):
            return "json"
        if media in _TEXT or media.startswith("text/") or media.endswith(("+xml", "+yaml")):
            return "text"
        return ""


def _relinked(status: int, given: _Kind, links: Links | None) -> BodyPlan:
    """Nothing is hidden; only the upstream's own URLs are made the edge's, where the body can be read."""
    if links is None or links.same or status == 206 or given.partial or not given.form:
        return _UNTOUCHED
    if given.charset:
        return _UNTOUCHED
    if not given.codings:
        return BodyPlan(Sink(None, None, LinkSink(links)), dropped=_RELINKED - {_DECODED})
    return (
        BodyPlan(Sink(Decoder(given.codings), None, LinkSink(links)), dropped=_RELINKED)
        if known(given.codings)
        else _UNTOUCHED
    )


def _masked(
    status: int, given: _Kind, obligations: Obligations, keys: MaskingKeys | None, links: Links | None
) -> BodyPlan:
    if why := _unreadable(status, given, obligations):
        return BodyPlan(withheld=why)
    if not given.form:
        return _UNTOUCHED
    try:
        detection = compiled(obligations.detect, keys)
        members = hidden_members(obligations.columns, keys)
    except ValueError as error:
        return BodyPlan(withheld=str(error))
    masker = {"json": JsonLinesMasker, "events": EventStreamMasker, "text": TextMasker}[given.form](detection, members)
    decoder = Decoder(given.codings) if given.codings else None
    return BodyPlan(Sink(decoder, masker, None if links is None or links.same else LinkSink(links)), dropped=DROPPED)


def _unreadable(status: int, given: _Kind, obligations: Obligations) -> str:
    """Why a body cannot be masked, "" if it can or need not be."""
    if len(given.types) > 1 or not all(_MEDIA_TYPE.fullmatch(media) for media in given.types):
        return "its Content-Type can be read in more than one way"
    if status == 206 or given.partial or given.media == "multipart/byteranges":
        return "it is a part of a content, and what is to be hidden may begin outside it: ask without Range"
    if given.media.startswith("multipart/"):
        return "it has several parts, which are not read"
    if not given.form:
        if obligations.pass_binary:
            return ""
        kind = given.media or "of no stated type"
        return f"something must be hidden in it and it is {kind}, which is not read (`binary: pass` in each mask rule lets such content through)"
    if given.charset:
        return f"its character set {given.charset} is not read: only UTF-8, ASCII and Latin-1 are"
    if not known(given.codings):
        return f"its content coding {', '.join(given.codings)} is not read"
    if obligations.columns and given.media in _NAMELESS:
        return f"members must be hidden in it by name, and {given.media} need not name them: ask for JSON"
    return ""


def hidden_members(columns: tuple[ColumnMask, ...], keys: MaskingKeys | None) -> Members | None:
    """The compiled column masks of an obligation; made once for each policy. ValueError if a strategy's keys are missing."""
    if not columns:
        return None
    found = _MEMORY.get((columns, id(keys)))
    if found is None:
        found = Members(columns, keys)
        if len(_MEMORY) >= _REMEMBERED:
            _MEMORY.clear()
        _MEMORY[columns, id(keys)] = found
    return found


class MessageMask:
    """Masks the messages of a WebSocket."""

    __slots__ = ("_masker", "_pass_binary")

    def __init__(self, obligations: Obligations | None, keys: MaskingKeys | None) -> None:
        self._masker: MessageMasker | None = None
        self._pass_binary = True
        if obligations is not None and obligations.masks:
            self._masker = MessageMasker(compiled(obligations.detect, keys), hidden_members(obligations.columns, keys))
            self._pass_binary = obligations.pass_binary

    @property
    def counts(self) -> Counter[str]:
        """What was hidden so far."""
        return Counter() if self._masker is None else self._masker.counts

    def masked(self, data: bytes, text: bool) -> bytes:
        """One whole message as it may pass. UnmaskableError if it may not."""
        if self._masker is None or (not text and self._pass_binary):
            return data
        if not text:
            raise UnmaskableError("something must be hidden in it and it is binary, which is not read")
        return self._masker.masked(data)


def masked_headers(headers: Headers, detection: Detection, counts: Counter[str] | None = None) -> Headers:
    """The headers with what detectors find in their values hidden; the name beside a value counts. Under `null` a hit is cut out."""
    return tuple(
        (name, value if name.lower() in _UNMASKED else _masked_value(name, value, detection, counts))
        for name, value in headers
    )


def _masked_value(name: str, value: str, detection: Detection, counts: Counter[str] | None) -> str:
    line = f"{name}: {value}".encode("latin-1")
    at = len(name) + 2
    out: list[bytes] = []
    for hit in detection.hits(line):
        if hit.end > at:
            start = max(hit.start, at)
            out += (line[at:start], detection.replacement(hit._replace(start=start), line) or b"")
            at = hit.end
            if counts is not None:
                counts.update(hit.detectors)
    return b"".join((*out, line[at:])).decode("latin-1") if out else value
