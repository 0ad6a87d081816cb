"""Routes from an OpenAPI 3 document: each operation's path, method and `operationId`, and what `x-sallyport-effects` says it does.

Only what names operations is read (`openapi`, `servers`, `paths`), and that strictly: what is misspelt, stands twice or points
elsewhere is a problem with file and line, for a route that is missing would be judged by its method alone. Schemas, examples and security are
left alone. The policy's own YAML reader is not used: API descriptions are larger and deeper than it allows, with fractions and anchors.
"""

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec
import yaml

from edge_agent.gateway import Route
from edge_agent.routes import PathError, segments_of
from edge_agent.settings_file import EffectFile, Speaks
from gateway_kernel.policy.shape import nearest

MAX_SIZE = 32 << 20  # bytes; libyaml reads about 10 MB a second
MAX_DEPTH = 256
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_ITEM_KEYS = (*METHODS, "$ref", "summary", "description", "servers", "parameters")
_EFFECTS, _SPEAKS = "x-sallyport-effects", "x-sallyport-speaks"
_VERSION = re.compile(r"3\.[0-9]+\.[0-9]+(-.+)?\Z")
_VARIABLE = re.compile(r"\{([^{}]+)\}")


class OpenApiError(Exception):
    """A document does not load. Its text is every problem as `file:line:column: what`."""


class _Found(NamedTuple):
    """An operation, and where it stands."""

    at: yaml.Node
    route: Route


def routes(path: Path, *, below_server: bool) -> tuple[Route, ...]:
    """The routes of the document at `path`, with `below_server` below the path of its own server; raise `OpenApiError` with every problem."""
    try:
        data = path.read_bytes()
        if len(data) > MAX_SIZE:
            raise OpenApiError(f"{path}:1:1: the document has {len(data)} bytes, more than the {MAX_SIZE} allowed")
        root = _composed(data.decode("utf-8-sig"))
    except OSError as error:
        raise OpenApiError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise OpenApiError(f"{path}:1:1: this is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        raise OpenApiError(f"{path}:{place}: this is neither YAML nor JSON: {error.problem}") from None
    except yaml.YAMLError as error:
        raise OpenApiError(f"{path}:1:1: this is neither YAML nor JSON: {error}") from None
    reading = _Reading(path, below_server=below_server)
    found = reading.document(root)
    if reading.problems:
        raise OpenApiError("\n".join(text for _, _, text in sorted(reading.problems)))
    return found


def _composed(text: str) -> yaml.Node | None:
    """The document's nodes. Depth is counted first, for libyaml composes by recursion that ends with the process."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)
    return yaml.compose(text, Loader=yaml.CSafeLoader)


class _Reading:
    """One pass over one document; problems are collected with their line and column."""

    def __init__(self, path: Path, *, below_server: bool) -> None:
        self._path = path
        self._below_server = below_server
        self._root: yaml.Node | None = None
        self.problems: list[tuple[int, int, str]] = []

    def document(self, root: yaml.Node | None) -> tuple[Route, ...]:
        self._root = root
        if root is None:
            self.problems.append((1, 1, f"{self._path}:1:1: the document is empty"))
            return ()
        top = self._pairs(root)
        version = top.get("openapi")
        if version is None:
            self._object(root, "`openapi: 3.x.y` is missing; only OpenAPI 3 is read")
        elif not _VERSION.match(self._text(version)):
            self._object(version, f"only OpenAPI 3 is read, this says {self._text(version)!r}")
        base = self._server(top.get("servers"))
        found: list[_Found] = []
        for path, item in self._pairs(top["paths"]).items() if "paths" in top else ():
            if not path.startswith("x-"):
                found.extend(self._item(path, item, base))
        if not found and not self.problems:
            self._object(root, "the document names no operation under `paths`")
        self._unique(found)
        return tuple(each.route for each in found)

    def _item(self, path: str, written: yaml.Node, base: tuple[str, ...]) -> list[_Found]:
        item = self._pairs(self._resolved(written))
        try:
            segments = segments_of(path)
        except PathError as error:
            self._object(written, str(error))
            return []
        found: list[_Found] = []
        for key, node in item.items():
            if key not in _ITEM_KEYS:
                if not key.startswith("x-"):
                    self._object(node, f"unknown key {key!r} in a path{nearest(key, _ITEM_KEYS)}")
            elif key in METHODS:
                own = self._pairs(node)
                servers = own.get("servers", item.get("servers"))
                below = base if servers is None else self._server(servers)
                effects = self._effects(own.get(_EFFECTS, item.get(_EFFECTS)))
                speaks = self._speaks(own.get(_SPEAKS, item.get(_SPEAKS)))
                name = self._text(own["operationId"]) if "operationId" in own else ""
                found.append(_Found(node, Route((*below, *segments), frozenset({key.upper()}), name, effects, speaks)))
        return found

    def _unique(self, found: list[_Found]) -> None:
        names: dict[str, yaml.Node] = {}
        places: dict[tuple[tuple[str, ...], frozenset[str]], yaml.Node] = {}
        for at, route in found:
            if route.id and (first := names.setdefault(route.id, at)) is not at:
                line = first.start_mark.line + 1
                self._object(at, f"the operationId {route.id!r} stands twice; the first is in line {line}")
            if (first := places.setdefault((route.segments, route.methods), at)) is not at:
                self._object(
                    at, f"the same path and method stand twice; the first is in line {first.start_mark.line + 1}"
                )

    def _server(self, servers: yaml.Node | None) -> tuple[str, ...]:
        """The path that the servers share, if paths are below it."""
        if not self._below_server:
            return ()
        paths: set[tuple[str, ...]] = set()
        for server in self._items(servers) if servers is not None else ():
            pairs = self._pairs(server)
            if "url" not in pairs:
                self._object(server, "'url' is missing")
                continue
            defaults = {
                name: self._text(variable["default"]) if "default" in variable else ""
                for name, variable in (
                    (name, self._pairs(node))
                    for name, node in (self._pairs(pairs["variables"]) if "variables" in pairs else {}).items()
                )
            }
            url = _VARIABLE.sub(lambda match, known=defaults: known.get(match[1], match[0]), self._text(pairs["url"]))
            try:
                paths.add(segments_of(f"/{urlsplit(url).path.lstrip('/')}"))
            except (PathError, ValueError) as error:
                self._object(pairs["url"], str(error))
        if len(paths) > 1 and servers is not None:
            self._object(servers, "the servers have different paths; write the one that holds into `upstream`")
        return next(iter(paths), ())

    def _effects(self, node: yaml.Node | None) -> tuple[tuple[str, str], ...]:
        effects: list[tuple[str, str]] = []
        for item in self._items(node) if node is not None else ():
            said = {key: self._text(value) for key, value in self._pairs(item).items()}
            try:
                effect = msgspec.convert(said, EffectFile)
            except msgspec.ValidationError as error:
                self._object(item, f"{_EFFECTS}: {error}")
            else:
                effects.append((effect.kind, effect.object))
        return tuple(effects)

    def _speaks(self, node: yaml.Node | None) -> str:
        if node is None:
            return ""
        try:
            return msgspec.convert(self._text(node), Speaks)
        except msgspec.ValidationError:
            self._object(node, f"{_SPEAKS}: expected graphql or json-rpc")
            return ""

    # -- nodes --------------------------------------------------------------------------------------------------------

    def _object(self, node: yaml.Node, what: str) -> None:
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self.problems.append((line, column, f"{self._path}:{line}:{column}: {what}"))

    def _pairs(self, node: yaml.Node) -> dict[str, yaml.Node]:
        pairs: dict[str, yaml.Node] = {}
        if not isinstance(node, yaml.MappingNode):
            self._object(node, f"expected a mapping, found {_kind(node)}")
            return pairs
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._object(key, "a key must be text")
            elif key.value in pairs:
                self._object(key, f"the key {key.value!r} stands twice")
            else:
                pairs[key.value] = value
        return pairs

    def _items(self, node: yaml.Node) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return node.value
        self._object(node, f"expected a list, found {_kind(node)}")
        return []

    def _text(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return node.value
        self._object(node, f"expected text, found {_kind(node)}")
        return ""

    def _resolved(self, node: yaml.Node) -> yaml.Node:
        """Follow one `$ref` within the document, which a path may be."""
        if not isinstance(node, yaml.MappingNode):
            return node
        target = next((value for key, value in node.value if key.value == "$ref"), None)
        if target is None or self._root is None:
            return node
        reference = self._text(target)
        if not reference.startswith("#/"):
            self._object(target, f"$ref {reference!r} is another document; bundle the API into one file")
            return yaml.MappingNode(node.tag, [], node.start_mark)
        found: yaml.Node = self._root
        for step in reference[2:].split("/"):
            pairs = self._pairs(found)
            name = step.replace("~1", "/").replace("~0", "~")
            if name not in pairs:
                self._object(target, f"$ref {reference!r} points to nothing")
                return yaml.MappingNode(node.tag, [], node.start_mark)
            found = pairs[name]
        return found


def _kind(node: yaml.Node) -> str:
    match node:
        case yaml.MappingNode():
            return "a mapping"
        case yaml.SequenceNode():
            return "a list"
        case _:
            return "a single value"
