"""YAML as a tree that knows where everything stands, and nothing that surprises: the form in which a policy is read.

The scalars are those of YAML 1.2's core schema (so `no` and `12:30` are text), and what makes a document mean more than it
shows is refused: anchors, aliases, merge keys, tags, repeated keys, a second document, depth and size without end. It knows
nothing of policies: `shape` holds a tree against types.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from gateway_kernel.errors import PolicyError
from gateway_kernel.model import Json

MAX_SIZE = 512 * 1024  # characters; PyYAML reads about 200 KB a second, and a policy is meant to be read by people
MAX_DEPTH = 24
_LARGEST = 2**53 - 1  # RFC 7493: what JSON carries exactly
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS: dict[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Place(msgspec.Struct, frozen=True, order=True):
    """Where something stands in the document; line and column count from 1, in characters."""

    line: int
    column: int


class Problem(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong, and where."""

    place: Place
    what: str

    def text(self, name: str) -> str:
        """`file:line:column: what`."""
        return f"{name}:{self.place.line}:{self.place.column}: {self.what}"


class Scalar(msgspec.Struct, frozen=True):
    """A plain, quoted or block scalar. `start` and `end` are character offsets in the source, `style` as PyYAML names it."""

    place: Place
    text: str
    value: Json
    start: int
    end: int
    style: str


class Sequence(msgspec.Struct):
    """A list."""

    place: Place
    items: list["Node"]


class Mapping(msgspec.Struct):
    """A mapping in the order of the source; every key is text and stands once."""

    place: Place
    pairs: dict[str, tuple[Scalar, "Node"]]

    def get(self, key: str) -> "Node | None":
        """Return the value under `key`, None if there is none."""
        pair = self.pairs.get(key)
        return None if pair is None else pair[1]


type Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Json:
    """Return what the tree says, without places."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(value) for key, (_, value) in node.pairs.items()}


def find(node: Node, *path: str | int) -> Node:
    """Return the node at `path`, or the last one on the way that is written down (a default has no place of its own)."""
    for step in path:
        child: Node | None = None
        if isinstance(node, Mapping) and isinstance(step, str):
            child = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            child = node.items[step]
        if child is None:
            return node
        node = child
    return node


def parse(text: str | bytes, name: str) -> tuple[Node, str]:
    """Return the tree of the one document in `text`, and its text. Raise `PolicyError` with every problem that was found."""
    source = _decoded(text, name)
    problems: list[Problem] = []
    root = _Builder(source, problems).build()
    if problems or root is None:
        problems = problems or [Problem(Place(1, 1), "the document is empty; a policy starts with `version: 1`")]
        raise PolicyError(tuple(problem.text(name) for problem in sorted(problems)))
    return root, source


def _decoded(text: str | bytes, name: str) -> str:
    try:
        source = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8-sig", "replace")
        raise PolicyError((Problem(_place_of(before, len(before)), "this is not UTF-8 text").text(name),)) from None
    if len(source) > MAX_SIZE:
        what = f"the document has {len(source)} characters, more than the {MAX_SIZE} allowed"
        raise PolicyError((Problem(Place(1, 1), what).text(name),))
    return source


def _place_of(source: str, offset: int) -> Place:
    start = source.rfind("\n", 0, offset) + 1
    return Place(source.count("\n", 0, offset) + 1, offset - start + 1)


class _Builder:
    """Builds the tree from PyYAML's events, with its own stack: no recursion that a document could exhaust."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self._source = source
        self._problems = problems
        self._root: Node | None = None
        self._stack: list[tuple[Sequence | Mapping, list[Scalar]]] = []
        self._documents = 0

    def build(self) -> Node | None:
        try:
            for event in self._events():
                self._take(event)
                if self._documents > 1:
                    self._object(event, "a second document starts here; a policy is one document")
                    break
                if len(self._stack) > MAX_DEPTH:
                    self._object(event, f"nested more than {MAX_DEPTH} deep")
                    break
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
            self._problems.append(Problem(place, _syntax(error)))
        except yaml.reader.ReaderError as error:
            what = f"the character U+{int(error.character):04X} may not stand in a YAML document"
            self._problems.append(Problem(_place_of(self._source, error.position), what))
        return self._root

    def _events(self) -> Iterator[Any]:
        return yaml.parse(self._source, Loader=yaml.SafeLoader)

    def _object(self, event: Any, what: str) -> None:
        self._problems.append(Problem(_place(event), what))

    def _take(self, event: Any) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
            case yaml.AliasEvent():
                self._object(event, "an alias; write the value out, so that a reader sees what holds")
                self._add(Scalar(_place(event), "", None, event.start_mark.index, event.end_mark.index, ""), event)
            case yaml.ScalarEvent():
                self._decorated(event)
                self._add(self._scalar(event), event)
            case yaml.SequenceStartEvent():
                self._decorated(event)
                self._open(Sequence(_place(event), []), event)
            case yaml.MappingStartEvent():
                self._decorated(event)
                self._open(Mapping(_place(event), {}), event)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._stack.pop()
            case _:
                pass

    def _decorated(self, event: Any) -> None:
        if event.anchor is not None:
            self._object(event, f"an anchor (&{event.anchor}); write the value out where it is needed")
        if event.tag is not None:
            self._object(event, f"a tag ({event.tag}); a policy has plain values only")

    def _open(self, node: Sequence | Mapping, event: Any) -> None:
        self._add(node, event)
        self._stack.append((node, []))

    def _scalar(self, event: Any) -> Scalar:
        value: Json = event.value
        if event.implicit[0]:
            value = self._plain(event)
        elif _SURROGATE.search(event.value):
            self._object(event, "an escape that is half a character (a lone surrogate)")
            value = ""
        start, end = event.start_mark.index, event.end_mark.index
        return Scalar(_place(event), event.value, value, start, end, event.style or "")

    def _plain(self, event: Any) -> Json:
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.match(text):
            if len(text) > 17 or abs(int(text)) > _LARGEST:
                self._object(event, f"{text[:40]} is outside the exact range of JSON; write it in quotes")
                return 0
            return int(text)
        if _FLOAT.match(text):
            self._object(event, f"{text[:40]} is a fraction, which has no exact form; write it in quotes")
            return 0
        return text

    def _add(self, node: Node, event: Any) -> None:
        if not self._stack:
            if self._root is None:
                self._root = node
            return
        parent, waiting = self._stack[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif waiting:
            key = waiting.pop()
            parent.pairs.setdefault(key.text, (key, node))
        else:
            waiting.append(self._key(parent, node, event))

    def _key(self, parent: Mapping, node: Node, event: Any) -> Scalar:
        if not isinstance(node, Scalar):
            self._object(event, "a key must be text")
            return Scalar(node.place, f"(key at {node.place})", None, 0, 0, "")
        if node.text == "<<" and not node.style:
            self._object(event, "a merge key; write the values out, so that a reader sees what holds")
        elif not isinstance(node.value, str):
            self._object(event, f"the key {node.text!r} is not text; write it in quotes")
        elif node.text in parent.pairs:
            first = parent.pairs[node.text][0].place
            self._object(event, f"the key {node.text!r} stands twice; the first is in line {first.line}")
        return node


def _place(event: Any) -> Place:
    return Place(event.start_mark.line + 1, event.start_mark.column + 1)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "this is not YAML"
    if "'\\t'" in problem:
        return "a tab cannot indent YAML; use spaces"
    if "mapping values are not allowed" in problem:
        return "a `:` that starts no key; put the text in quotes, or check the indentation"
    return f"{error.context}: {problem}" if error.context else problem


class ScalarMap:
    """From a character of a scalar's text to its place in the source, for each of YAML's five ways to write one."""

    def __init__(self, source: str, scalar: Scalar) -> None:
        self._offsets = list(_offsets(source, scalar))
        written = source[scalar.start : scalar.end].rstrip()
        self._end = scalar.start + len(written) - (scalar.style in ("'", '"'))
        self._lines = [0, *(match.end() for match in re.finditer("\n", source))]

    def place(self, index: int) -> Place:
        """Return where the character at `index` of the scalar's text stands; past its end, where the scalar ends."""
        offset = self._offsets[index] if index < len(self._offsets) else self._end
        line = bisect_right(self._lines, offset)
        return Place(line, offset - self._lines[line - 1] + 1)


_LONG_ESCAPES = {"x": 4, "u": 6, "U": 10}


def _offsets(source: str, scalar: Scalar) -> Iterator[int]:
    """Yield the source offset of each character of the text. White space may differ (indentation, folding), nothing else does."""
    at = scalar.start
    if scalar.style in ("|", ">"):
        at = source.find("\n", at) + 1 or scalar.end
    elif scalar.style:
        at += 1
    for character in scalar.text:
        if character.isspace() and not (at < scalar.end and source[at] == character):
            yield min(at, scalar.end)
            at += _escape(source, at) if scalar.style == '"' and source[at : at + 1] == "\\" else 0
            continue
        while at < scalar.end and not character.isspace() and _skips(source, at, scalar.style):
            at += 1
        yield min(at, scalar.end)
        if scalar.style == '"' and source[at : at + 1] == "\\":
            at += _escape(source, at)
        else:
            at += 2 if scalar.style == "'" and source.startswith("''", at) else 1


def _escape(source: str, at: int) -> int:
    return _LONG_ESCAPES.get(source[at + 1 : at + 2], 2)


def _skips(source: str, at: int, style: str) -> bool:
    """Indentation, a folded line end, or the `\\` that joins two lines of a double-quoted scalar (YAML 1.2.2, section 7.3.1)."""
    return source[at].isspace() or (style == '"' and source.startswith(("\\\n", "\\\r"), at))
