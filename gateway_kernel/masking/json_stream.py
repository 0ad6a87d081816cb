"""Masking of JSON that arrives in chunks: what detectors find in its tokens, and the members that column masks name.

What is found by detectors is what `json_text` would find in the whole; the raw text is cut as `masker` says. A member that a mask names
loses its whole value: a string by the strategy, anything else becomes null, and what stood inside is read and dropped. Nothing else
changes: white space, order, duplicate keys and the precision of numbers stay.

Here, other than in `json_text`, the grammar (RFC 8259) is held to: two readers could take text beside it for different members. What is not JSON,
or ends too early, raises `UnmaskableError`; what could be read until then has been given out, the rest never is. A string, or a key with its
value, is at most `LONGEST` bytes long, and `DEEPEST` values stand in one another; so about `LONGEST` and a segment are held, in general far less.

Speed comes from the runs: members of which nothing can be hidden are passed by the hundred in one match of a regular expression.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, NoReturn

from gateway_kernel.errors import UnmaskableError
from gateway_kernel.verdict import Strategy, stricter_strategy

from .json_text import hits_before, mask_string, string_content, string_token
from .lenient import is_clean
from .masker import Detection, Hit, Segments
from .members import NOTHING, PLAIN_KEY, Members, State
from .strategies import MASK
from .stream import Stream

KIB = 1024
LONGEST = 1024 * KIB  # bytes of a string, or of a key with its value
DEEPEST = 128  # values in one another
_PIECE = 256 * KIB  # bytes read at a time, whatever the size of a chunk
_FARTHEST = 16 * KIB  # bytes passed in one run
_NESTED = 3  # objects and arrays in one another that a run passes
_BOM = b"\xef\xbb\xbf"  # RFC 8259 8.1: need not be taken for an error; it passes
_NULL = b"null"
_LAX = json.JSONDecoder(strict=False)  # takes the white space between tokens inside a string

# What must come next
_DOCUMENT, _FIRST_MEMBER, _MEMBER, _FIRST_ELEMENT, _ELEMENT, _AFTER, _END = range(7)

_WS = rb"[ \t\r\n]*+"
_CHARACTERS = rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+'
_STRING = rb'"' + _CHARACTERS + rb'"'
_PLAIN = rb'"[^"\\\x00-\x1f]*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_SCALAR = _NUMBER + rb"(?=[ \t\r\n,\]}])|true|false|null"
_VALUE = rb"(?:(%b)|(%b)|([\[{]))"

_A_MEMBER = re.compile(_WS + rb"(" + _STRING + rb")" + _WS + rb":" + _WS + _VALUE % (_STRING, _SCALAR))
_AN_ELEMENT = re.compile(_WS + rb"()" + _VALUE % (_STRING, _SCALAR))  # the same groups, without a key
_LAST_DOCUMENT = re.compile(_WS + rb"()" + _VALUE % (_STRING, _NUMBER + rb"(?![^ \t\r\n])|true|false|null"))
_PUNCTUATION = re.compile(_WS + rb"([,\]}])")
_CLOSED = re.compile(_WS + rb"([\]}])")
_SPACE = re.compile(_WS)
_BETWEEN = re.compile(rb"[ \t\r\n\x1e]*+")  # RFC 7464 puts a record separator before each text

_CUT_STRING = rb'"' + _CHARACTERS + rb"(?:\\(?:u[0-9A-Fa-f]{0,3})?+)?+"
_CUT_VALUE = rb"(?:%b|-?[0-9.eE+-]*+|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?)" % _CUT_STRING
_CUT_MEMBER = re.compile(rb"(?:%b%b(?::%b%b)?|%b)?\Z" % (_STRING, _WS, _WS, _CUT_VALUE, _CUT_STRING))
_CUT_ELEMENT = re.compile(_CUT_VALUE + rb"\Z")
_CUT_NOTHING = re.compile(rb"\Z")
_CUT = {
    _DOCUMENT: _CUT_ELEMENT,
    _FIRST_MEMBER: _CUT_MEMBER,
    _MEMBER: _CUT_MEMBER,
    _FIRST_ELEMENT: _CUT_ELEMENT,
    _ELEMENT: _CUT_ELEMENT,
    _AFTER: _CUT_NOTHING,
    _END: _CUT_NOTHING,
}


class _Runs(NamedTuple):
    """Patterns for any number of members, and of elements, that are passed without a look, each with the comma behind it.

    The last one of its object or array has no comma; the group then says that it was there.
    """

    members: re.Pattern[bytes]
    elements: re.Pattern[bytes]


@lru_cache(maxsize=64)
def _runs(plain_key: bytes, string: bytes, depth: int) -> _Runs:
    """Runs over keys like `plain_key` and strings like `string`, with objects and arrays in them `depth` deep."""
    comma = _WS + rb"(?:,(?!%b%b)|(?=%b))"  # behind a comma something follows
    value = string + rb"|" + _SCALAR
    member = element = b""
    for _ in range(depth + 1):
        member = rb'%b"%b"%b:%b(?:%b)' % (_WS, plain_key, _WS, _WS, value)
        element = rb"%b(?:%b)" % (_WS, value)
        nested = member + comma % (_WS, rb"\}", rb"\}"), _WS, element + comma % (_WS, rb"\]", rb"\]"), _WS
        value = rb"%b|%b|\{(?:%b)*+%b\}|\[(?:%b)*+%b\]" % (string, _SCALAR, *nested)
    run = rb"(?:%b%b(?:,(?!%b%b)|(?=%b)()))*+"
    return _Runs(
        re.compile(run % (member, _WS, _WS, rb"\}", rb"\}")), re.compile(run % (element, _WS, _WS, rb"\]", rb"\]"))
    )


class JsonMasker(Stream):
    """Masks one JSON text, or with `many` any number of them, one behind the other (NDJSON, RFC 7464).

    Hidden members are counted as `columns`.
    """

    __slots__ = (
        "_base", "_detection", "_hits", "_many", "_mark", "_members", "_muted", "_out", "_runs", "_segments", "_shallow", "_stack", "_stage",
        "_started", "_state", "_suspect", "_text",
    )  # fmt: skip

    def __init__(self, detection: Detection | None, members: Members | None = None, *, many: bool = False) -> None:
        super().__init__()
        self._detection = detection or None
        self._members = members or None
        self._many = many
        self._segments = Segments(detection) if detection else None
        plain_key = members.plain if members else PLAIN_KEY
        nested = 0 if members and members.wild else _NESTED
        # The first of each two passes no escapes, which detectors must be shown without them; the second any string.
        self._shallow = _runs(plain_key, _PLAIN if detection else _STRING, 0), _runs(plain_key, _STRING, 0)
        self._runs = _runs(plain_key, _PLAIN if detection else _STRING, nested), _runs(plain_key, _STRING, nested)
        self._suspect = 0  # before this place in `_text` a string with escapes may hold something
        self._text = b""  # released by the segments, not read yet
        self._hits: list[Hit] = []  # those in `_text`
        self._base = 0  # bytes of the stream before `_text`
        self._out: list[bytes] = []
        self._mark = 0  # where in `_text` begins what goes out as it is
        self._started = False  # a byte order mark has been looked for
        self._stage = _END if many else _DOCUMENT
        self._stack: list[tuple[bytes, State]] = []  # what closes each open value, and the state around it
        self._state = self._members.root if self._members else NOTHING
        self._muted = -1  # the height of the stack at which a hidden value was opened

    @property
    def held(self) -> int:
        """Bytes taken in and not yet given out."""
        return len(self._text) + (self._segments.held if self._segments else 0)

    def _read(self, chunk: bytes, out: list[bytes], final: bool) -> None:
        self._out = out
        for start in range(0, len(chunk), _PIECE):
            self._take(chunk[start : start + _PIECE] if len(chunk) > _PIECE else chunk)
        if final:
            self._take(b"", final=True)

    def _take(self, chunk: bytes, *, final: bool = False) -> None:
        if self._segments is None:
            self._text += chunk
        else:
            for window, start, stop, hits in self._segments.feed(chunk, final=final):
                shift = len(self._text) - start
                self._hits += [Hit(a + shift, b + shift, strategy, names) for a, b, strategy, names in hits]
                self._text += window[start:stop]
        self._advance(final)

    def _advance(self, final: bool) -> None:
        """Read `_text` as far as it goes."""
        text, hits, size = self._text, self._hits, len(self._text)
        at = self._opening(text, final)
        first = 0
        while 0 <= at < size:
            while first < len(hits) and hits[first].end <= at:
                first += 1
            stage = self._stage
            if stage >= _AFTER:
                ahead = self._punctuate(text, at)
            else:
                in_object = _FIRST_MEMBER <= stage <= _MEMBER
                if stage != _DOCUMENT and not (in_object and self._state.hides_any):
                    at = self._run(text, at, min(hits[first].start if first < len(hits) else size, at + _FARTHEST))
                    if self._stage == _AFTER:
                        continue
                    stage = self._stage
                unit = _A_MEMBER if in_object else _LAST_DOCUMENT if final and stage == _DOCUMENT else _AN_ELEMENT
                if (match := unit.match(text, at)) is not None:
                    ahead = self._value(match, hits, first)
                elif stage in (_FIRST_MEMBER, _FIRST_ELEMENT) and (match := _CLOSED.match(text, at)) is not None:
                    ahead = self._close(match)
                else:
                    ahead = -1
            if ahead < 0:
                at = self._cut(text, at)
                break
            at = ahead
        self._settle(max(at, 0))
        if final and (self._text or self._stack or self._stage not in (_DOCUMENT, _END)):
            raise UnmaskableError(f"the content ends in the middle of JSON, at byte {self._base}")

    def _run(self, text: bytes, at: int, limit: int) -> int:
        """Pass what needs no look, before `limit`, where the next hit begins; returns where it ends."""
        in_object = self._stage <= _MEMBER
        plain, escaped = self._shallow if len(self._stack) + _NESTED > DEEPEST else self._runs
        if plain is not escaped and at >= self._suspect:
            run = escaped[not in_object].match(text, at, limit)
            end = at if run is None else run.end()
            backslash = text.find(b"\\", at, end)
            if backslash >= 0 and not self._quiet(text[at:end]):
                self._suspect = end
                run = plain[not in_object].match(text, at, limit)
        else:
            run = plain[not in_object].match(text, at, limit)
        if run is None or run.end() == at:
            return at
        self._stage = _AFTER if run.lastindex else _MEMBER if in_object else _ELEMENT
        return run.end()

    def _quiet(self, text: bytes) -> bool:
        """True if no detector could find anything in the strings of this text, once their escapes are gone."""
        assert self._detection is not None
        text = text.replace(b"\\\\", b"\\u005c").replace(b'\\"', b"\\u0022").replace(b'"', b'\\"')
        said = _LAX.decode(f'"{text.decode("utf-8", "surrogateescape")}"').encode("utf-8", "surrogatepass")
        return is_clean(said) and not self._detection.screen.which(said)

    def _opening(self, text: bytes, final: bool) -> int:
        """Where reading begins: behind a byte order mark; -1 while that cannot be told."""
        if self._started:
            return 0
        if len(text) < len(_BOM) and _BOM.startswith(text) and not final:
            return -1
        self._started = True
        return len(_BOM) if text.startswith(_BOM) else 0

    def _punctuate(self, text: bytes, at: int) -> int:
        """What stands behind a value: a comma, the end of what it is in, or the next text. Returns where that ends, -1 if it is not there."""
        if self._stage == _END:
            end = (_BETWEEN if self._many else _SPACE).match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess] - never None
            if end < len(text):
                if not self._many:
                    return -1
                self._stage = _DOCUMENT
            return end
        end = -1
        while self._stage == _AFTER and (match := _PUNCTUATION.match(text, max(at, end))) is not None:
            if match[1] == b",":
                self._stage = _MEMBER if self._stack[-1][0] == b"}" else _ELEMENT
                return match.end()
            end = self._close(match)
        return end

    def _close(self, match: re.Match[bytes]) -> int:
        """An object or array ends."""
        if match[1] != self._stack[-1][0]:
            self._fail(match.start(1), "is not JSON")
        _, self._state = self._stack.pop()
        if len(self._stack) == self._muted:
            self._muted = -1
            self._mark = match.end()
        self._stage = _AFTER if self._stack else _END
        return match.end()

    def _value(self, match: re.Match[bytes], hits: list[Hit], first: int) -> int:
        """A value, with its key if it has one: hidden, passed or, if it is an object or array, entered."""
        key, opening = match[1], match[4]
        if match.end() - match.start(1) > LONGEST:
            self._fail(match.start(1), f"holds a value of more than {LONGEST} bytes")
        if opening and len(self._stack) >= DEEPEST:
            self._fail(match.start(1), f"is nested deeper than {DEEPEST}")
        state = child = self._state
        if key and state is not NOTHING:
            child = state.step(string_content(key).decode("utf-8", "replace"))
        muted = self._muted >= 0
        if not muted:
            over = [hit for hit in hits_before(hits, first, match.end()) if hit.end > match.start(1)]
            if self._detection is not None and (over or b"\\" in match[0]):
                self._look(match, over, hidden=child.strategy is not None)
            if child.strategy is not None:
                self._hide(match, child.strategy, over)
        if not opening:
            self._stage = _AFTER if self._stack else _END
            return match.end()
        if child.strategy is not None and not muted:
            self._muted = len(self._stack)
        self._stack.append((b"}" if opening == b"{" else b"]", state))
        self._state = child if self._muted < 0 else NOTHING
        self._stage = _FIRST_MEMBER if opening == b"{" else _FIRST_ELEMENT
        return match.end()

    def _look(self, match: re.Match[bytes], over: Sequence[Hit], *, hidden: bool) -> None:
        """Hide what detectors find in a key and in its string or scalar; `hidden`: the value is hidden anyhow."""
        detection = self._detection
        assert detection is not None
        key, string, scalar, _ = match.groups()
        if key:
            end = match.end(1)
            masked = mask_string(key, match.start(1), detection, [hit for hit in over if hit.start < end], self.counts)
            if masked is None:  # a name cannot be null
                self.nulled = True
                masked = string_token(MASK)
            if masked is not key:
                self._replace(match.start(1), end, masked)
        if hidden:
            return
        start = match.start(match.lastindex or 0)
        over = [hit for hit in over if hit.end > start]
        if string:
            before = self._text[match.start(1) : start] if key else b""
            masked = mask_string(string, start, detection, over, self.counts, before)
            self.nulled |= masked is None
            if masked is not string:
                self._replace(start, match.end(), masked or _NULL)
        elif scalar and over:
            for hit in over:
                self.counts.update(hit.detectors)
                self.nulled |= hit.strategy == "null"
            self._replace(start, match.end(), _NULL)

    def _hide(self, match: re.Match[bytes], strategy: Strategy, over: Sequence[Hit]) -> None:
        """Put what the strategy makes of a member in the place of its value, or of what opens it."""
        assert self._members is not None
        self.counts["columns"] += 1
        hidden = None
        start = match.start(match.lastindex or 0)
        if string := match[2]:
            content = string_content(string)
            for hit in (
                *(hit for hit in over if hit.end > start),
                *(self._detection.hits(content) if self._detection and b"\\" in string else ()),
            ):
                strategy = stricter_strategy(strategy, hit.strategy)
            hidden = self._members.replace(strategy, content)
        self.nulled |= hidden is None
        self._replace(start, match.end(), _NULL if hidden is None else string_token(hidden))

    def _replace(self, start: int, end: int, token: bytes) -> None:
        self._out += (self._text[self._mark : start], token)
        self._mark = end

    def _cut(self, text: bytes, at: int) -> int:
        """What begins at `at` is not whole yet: returns where it begins, white space left out. It fails if it cannot become whole."""
        at = _SPACE.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess] - it matches nothing, too
        if at < len(text):
            if _CUT[self._stage].match(text, at) is None:
                self._fail(at, "is not JSON")
            if len(text) - at > LONGEST:
                self._fail(at, f"holds a value of more than {LONGEST} bytes")
        return at

    def _settle(self, at: int) -> None:
        """All before `at` is done with."""
        if self._muted < 0 and at > self._mark:
            self._out.append(self._text[self._mark : at])
        self._mark = 0
        self._suspect = max(0, self._suspect - at)
        self._text = self._text[at:]
        self._base += at
        self._hits = [Hit(start - at, end - at, how, names) for start, end, how, names in self._hits if end > at]

    def _fail(self, at: int, what: str) -> NoReturn:
        """What stands before `at` was good; the rest is not given out."""
        where = self._base + at
        self._settle(at)
        raise UnmaskableError(f"the content {what}, at byte {where}")
