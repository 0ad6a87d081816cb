"""GraphQL requests: what the documents in a query string or body ask for, by GraphQL's own grammar.

Every operation of a document counts, whatever `operationName` picks: the server picks, and the edge cannot hold it to that. What a
field does behind its name is not known here; a route's effects can name fields and say (`deleteUser` deletes).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from graphql import GraphQLError
from graphql import parse as parse_document
from graphql.language import ast

from gateway_kernel.model import Effect, EffectKind, Json
from gateway_kernel.parse.http import pairs
from gateway_kernel.parse.http.body import Body
from gateway_kernel.parse.http.text import Head

MAX_TOKENS = 4_000
"""Lexical tokens of a document. So many take 60 ms to parse, which holds up every other agent; clients' longest have some hundreds."""

MAX_SOURCE = 64 * 1024
"""Characters of a document: one long string takes a while to read as well."""

DEEPEST = 64
"""Levels of fields that are looked at. A document that goes deeper cannot be told."""

MAX_PATHS = 10_000
"""Fields after fragments are put in. Fragments of fragments grow exponentially."""

_WRITES = {ast.OperationType.MUTATION: EffectKind.WRITE}
_BODILESS = ("GET", "HEAD")
_CONTROL = frozenset({"connection_init", "ping", "pong", "complete", "stop", "connection_terminate"})
_STARTS = frozenset({"subscribe", "start"})


_TOO_DEEP = "The GraphQL document is nested too deeply."


class GraphqlError(Exception):
    """Nobody can tell what the request asks for; says why."""


class Field(msgspec.Struct, frozen=True):
    """One field that is asked for: the names down to it, the names under which the response has them, and its arguments."""

    names: tuple[str, ...]
    shown: tuple[str, ...]
    arguments: tuple[Any, ...]
    operation: str


def effects(
    head: Head, body: Body, named: Mapping[str, EffectKind]
) -> tuple[tuple[Effect, ...], tuple[str, ...]] | None:
    """One effect for each field at the top of each operation; None where the request has no GraphQL in it (a page, a preflight)."""
    if head.method == "OPTIONS" or (head.method in _BODILESS and not head.query):
        return None
    try:
        sources, control = _sources(head, body)
        found = dict.fromkeys(Effect(EffectKind.READ, name, "graphql") for name in control)
        for source, _ in sources:
            for field in fields(source, top=True):
                kind = _WRITES.get(ast.OperationType(field.operation), EffectKind.READ)
                found[Effect(named.get(field.names[0], kind), field.names[0], "graphql")] = None
    except GraphqlError as error:
        return (), (str(error),)
    return tuple(found), ()


def requests(head: Head, body: Body) -> list[tuple[str, Json]]:
    """The documents of a request, each with its variables; raise `GraphqlError` if nobody can tell."""
    return _sources(head, body)[0]


def _sources(head: Head, body: Body) -> tuple[list[tuple[str, Json]], list[str]]:
    sources: list[tuple[str, Json]] = []
    query = pairs.strict(head.query, "query")
    if query.why:
        raise GraphqlError(query.why)
    if "query" in query.values:
        sources.append((query.values["query"], query.values.get("variables")))
    elif head.method in _BODILESS:
        raise GraphqlError("A GraphQL request without its document cannot be judged; send the query itself.")
    control: list[str] = []
    if body.text or body.why or not sources:
        said = _in_body(body)
        for request in said if isinstance(said, list) else [said]:
            if head.method == "MESSAGE":
                request = _message(request, control)
                if request is None:
                    continue
            sources.append(_source(request))
    if not sources and not control:
        raise GraphqlError("The request holds no GraphQL.")
    return sources, control


def _in_body(body: Body) -> Json:
    if body.why:
        raise GraphqlError(body.why)
    return body.value


def _message(message: Json, control: list[str]) -> Json:
    """What a WebSocket message asks for (graphql-transport-ws and its forerunner); None for one that only steers the connection."""
    kind = message.get("type") if isinstance(message, dict) else None
    if kind in _CONTROL:
        control.append(kind)
        return None
    if kind in _STARTS:
        return message.get("payload")
    raise GraphqlError("The message is none of GraphQL over WebSocket.")


def _source(request: Json) -> tuple[str, Json]:
    document = request.get("query") if isinstance(request, dict) else None
    if not isinstance(document, str) or not document:
        raise GraphqlError("A GraphQL request without its document cannot be judged; send the query itself.")
    return document, request.get("variables")


def fields(source: str, *, top: bool = False) -> Iterator[Field]:
    """Every field of every operation (or those at the `top`), fragments put in; raise `GraphqlError` where that cannot be told."""
    try:
        document = parse_document(source, no_location=True, max_tokens=MAX_TOKENS, max_source_length=MAX_SOURCE)
    except GraphQLError as error:
        raise GraphqlError(f"The GraphQL document cannot be read: {error.message}") from None
    except RecursionError:
        raise GraphqlError(_TOO_DEEP) from None
    fragments: dict[str, ast.FragmentDefinitionNode] = {}
    operations: list[ast.OperationDefinitionNode] = []
    for definition in document.definitions:
        match definition:
            case ast.FragmentDefinitionNode():
                if definition.name.value in fragments:
                    raise GraphqlError(f"The fragment {definition.name.value!r} is defined twice.")
                fragments[definition.name.value] = definition
            case ast.OperationDefinitionNode():
                operations.append(definition)
            case _:
                raise GraphqlError("The GraphQL document defines something else than operations and fragments.")
    if not operations:
        raise GraphqlError("The GraphQL document holds no operation.")
    return _Walk(fragments, operations, top=top).fields()


class _Walk:
    """Goes through all selections, fragments put in where they are spread."""

    def __init__(
        self,
        fragments: Mapping[str, ast.FragmentDefinitionNode],
        operations: list[ast.OperationDefinitionNode],
        *,
        top: bool,
    ) -> None:
        self._fragments = fragments
        self._operations = operations
        self._top = top
        self._left = MAX_PATHS

    def fields(self) -> Iterator[Field]:
        try:
            for operation in self._operations:
                yield from self._selected(operation.selection_set, (), (), operation.operation.value, frozenset())
        except RecursionError:
            raise GraphqlError(_TOO_DEEP) from None

    def _selected(
        self,
        selections: ast.SelectionSetNode,
        names: tuple[str, ...],
        shown: tuple[str, ...],
        operation: str,
        within: frozenset[str],
    ) -> Iterator[Field]:
        for selection in selections.selections:
            self._left -= 1
            if self._left < 0:
                raise GraphqlError("The GraphQL document asks for too many fields.")
            match selection:
                case ast.FieldNode():
                    name = selection.name.value
                    label = selection.alias.value if selection.alias else name
                    down, seen = (*names, name), (*shown, label)
                    yield Field(down, seen, tuple(selection.arguments or ()), operation)
                    if len(down) > DEEPEST:
                        raise GraphqlError(_TOO_DEEP)
                    if selection.selection_set is not None and not self._top:
                        yield from self._selected(selection.selection_set, down, seen, operation, within)
                case ast.InlineFragmentNode():
                    yield from self._selected(selection.selection_set, names, shown, operation, within)
                case ast.FragmentSpreadNode():
                    fragment = selection.name.value
                    if fragment in within or fragment not in self._fragments:
                        raise GraphqlError(f"The fragment {fragment!r} is not defined, or holds itself.")
                    inner = self._fragments[fragment].selection_set
                    yield from self._selected(inner, names, shown, operation, within | {fragment})
                case _:
                    raise GraphqlError("The GraphQL document selects something that is no field.")
