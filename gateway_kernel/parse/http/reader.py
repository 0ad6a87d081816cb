"""The reader of HTTP: facts of a request from its normalised head, its body, and the route that the edge's table gave it.

`Operation.text` is the head (`text`), `parameters` the body where the whole of it was read, `body_digest` its hash where it was only
hashed, and `context` has:

| key | type | meaning |
|---|---|---|
| `scheme` | str | `https` or `http` |
| `body` | str | `none`, `whole`, `digest`, `streamed` |
| `length` | int | bytes of the body, -1 if that is not known; only with a body |
| `encoding` | str | its content coding, if it has one |
| `upgrade` | str | `websocket` where the request asks to go on in that protocol |
| `route` | object | `id`, `effects`, `speaks`: of the route that matched |

What bodies mean is `body`'s, what requests do is `effects`'. A head that is not in its normal form is unknown. Nothing is asked here.
"""

from typing import Literal

import msgspec

from gateway_kernel.errors import UnreadableFactError
from gateway_kernel.model import Effect, EffectKind, Facts, HttpFacts, Json, Operation, Parameter
from gateway_kernel.parse import MaskPlan
from gateway_kernel.parse.http import azure, body, declared, effects, pairs, rewriting
from gateway_kernel.parse.http import masks as asking
from gateway_kernel.parse.http.body import Body
from gateway_kernel.parse.http.effects import RouteContext
from gateway_kernel.parse.http.headers import canonical
from gateway_kernel.parse.http.target import TargetError, normalised
from gateway_kernel.parse.http.text import Head, HeadError, Headers
from gateway_kernel.parse.http.text import read as read_head
from gateway_kernel.verdict import ColumnMask, Rewrite

REMEMBERED = 4096
"""Facts kept, oldest forgotten first."""

LONGEST_REMEMBERED = 16 * 1024
"""Characters of a head. Longer ones are read anew each time: an agent that sends only such would fill the memory."""


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`Operation.context`, checked."""

    scheme: str = "https"
    body: str = "none"
    length: int = -1
    encoding: str = ""
    upgrade: Literal["", "websocket"] = ""
    route: RouteContext = effects.NO_ROUTE


class HttpReader:
    """Reads, rewrites and plans masks for HTTP requests. Keeps the facts of the requests without body that it read lately."""

    protocol = "http"
    parts = rewriting.PARTS

    def __init__(self) -> None:
        self._known: dict[str, tuple[dict[str, Json], Facts]] = {}
        self._same: dict[tuple[str, tuple[Effect, ...], str], Facts] = {}
        self._last: tuple[Operation, Body] | None = None

    def read(self, operation: Operation) -> Operation:
        """Return `operation` with its facts; the same `Facts` object for the same head, route and effects of the body."""
        if operation.parameters or operation.body_digest:
            return _with(operation, self._interned(operation.text, self._derived(operation)))
        known = self._known.get(operation.text)
        context = operation.context
        if known is not None and (known[0] is context or known[0] == context):
            return _with(operation, known[1])
        facts = self._interned(operation.text, self._derived(operation))
        if len(operation.text) <= LONGEST_REMEMBERED:
            if len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known.pop(operation.text, None)
            self._known[operation.text] = (context, facts)
        return _with(operation, facts)

    def rewrite(self, operation: Operation, rewrite: Rewrite) -> Operation:
        """Return the changed operation, with facts derived again; raise `UnrewritableError` with the reason if it cannot be."""
        changed = rewriting.rewritten(operation, rewrite, self._body(operation))
        return operation if changed is operation else self.read(changed)

    def part_problem(self, name: str, value: str | None) -> str:
        """What is wrong with setting this part to this value."""
        return rewriting.problem(name, value)

    def mask(self, operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
        """What column masks mean: any response may hold such members, and a query must not ask about them."""
        context = msgspec.convert(operation.context, Context)
        return asking.plan(read_head(operation.text), self._body(operation), context.route.speaks, masks)

    def asked(self, operation: Operation, field: str) -> Json:
        """The body as JSON."""
        if field != "body":
            raise KeyError(field)
        found = self._body(operation)
        if found.why:
            raise UnreadableFactError(found.why)
        return found.value

    def declare(self, operation: Operation, tables: dict[str, tuple[str, ...]]) -> Operation:
        """Return the request that a person wrote down, read as if the edge had got it."""
        try:
            return self.read(declared.request(operation))
        except (HeadError, TargetError) as error:
            return _with(operation, _unreadable(str(error)))

    def parameter_text(self, parameter: Parameter) -> str | None:
        """The body as text, None where it is none."""
        try:
            return (parameter.value or b"").decode()
        except UnicodeDecodeError:
            return None

    def _body(self, operation: Operation) -> Body:
        """The body, read once for an operation however many ask."""
        if self._last is not None and self._last[0].parameters is operation.parameters:
            kept = self._last[0]
            if kept.text == operation.text and kept.context == operation.context:
                return self._last[1]
        try:
            found = _body(read_head(operation.text), msgspec.convert(operation.context, Context), operation)
        except (HeadError, msgspec.ValidationError):
            return body.NO_BODY
        self._last = (operation, found) if operation.parameters else None
        return found

    def _derived(self, operation: Operation) -> Facts:
        try:
            context = msgspec.convert(operation.context, Context)
        except msgspec.ValidationError:
            return _unreadable("The context of the operation is malformed.")
        problem = _mismatch(context, operation)
        if problem:
            return _unreadable(problem)
        try:
            head = read_head(operation.text)
        except HeadError as error:
            return _unreadable(_why_none(operation.text) or str(error))
        return _facts(head, self._body(operation), context.route)

    def _interned(self, text: str, facts: Facts) -> Facts:
        """The object that stands for these facts already, so that rules need not be asked again."""
        key = (f"{facts.verb} {text}", facts.effects, facts.problem)
        known = self._same.get(key)
        if known is not None and known == facts:
            return known
        if len(text) <= LONGEST_REMEMBERED:
            if len(self._same) >= REMEMBERED:
                del self._same[next(iter(self._same))]
            self._same[key] = facts
        return facts


def _with(operation: Operation, facts: Facts) -> Operation:
    return Operation(
        operation.id,
        operation.protocol,
        operation.text,
        operation.parameters,
        operation.context,
        operation.body_digest,
        operation.size,
        facts,
    )


def _unreadable(problem: str) -> Facts:
    return Facts("", (Effect(EffectKind.UNKNOWN),), HttpFacts(), complete=False, problem=problem)


def _mismatch(context: Context, operation: Operation) -> str:
    """Why parameters and context do not belong together."""
    parameters, digest = operation.parameters, operation.body_digest
    whole = len(parameters) == 1 and parameters[0].value is not None and not digest
    match context.body:
        case "whole" if whole and len(parameters[0].value or b"") == context.length:
            return ""
        case "none" | "streamed" if not parameters and not digest:
            return ""
        case "digest" if digest and not parameters:
            return ""
        case _:
            return "The body of the operation is not what its context says."


def _why_none(text: str) -> str:
    """Why a head has no normal form, if its target is to blame."""
    line, _, _ = text.partition("\n")
    _, _, target = line.partition(" ")
    try:
        normalised(target.encode("latin-1", "replace"))
    except TargetError as error:
        return str(error)
    return ""


def _body(head: Head, context: Context, operation: Operation) -> Body:
    match context.body:
        case "none":
            return body.NO_BODY
        case "whole" if operation.parameters:
            media = body.media_type(head.headers)
            if head.method == "MESSAGE" and operation.parameters[0].form == "binary":
                return body.unread(media, "The message is binary.")
            return body.read(operation.parameters[0].value or b"", media)
        case "digest":
            why = f"The body has more than {body.INSPECTED // 1024} KiB, or is not kept in memory; nobody has read it."
            return body.unread(body.media_type(head.headers), why)
        case _:
            return body.unread(body.media_type(head.headers), "The body is streamed, so nobody has read it yet.")


def _facts(head: Head, content: Body, route: RouteContext) -> Facts:
    query = pairs.strict(head.query, "query")
    headers, repeated = _headers(head.headers)
    service = azure.of(head)
    found = effects.of(head, content, route, service)
    unreadable = {name: why for name, why in (("query", query.why), ("headers", repeated)) if why}
    family = HttpFacts(
        method=head.method,
        path=head.path,
        segments=head.segments,
        query=query.values,
        headers=headers,
        host=head.host,
        azure=service.facts,
        unreadable=unreadable,
    )
    unknown = (Effect(EffectKind.UNKNOWN),) if found.problems else ()
    return Facts(
        verb=route.id or head.method,
        effects=tuple(dict.fromkeys((*found.effects, *unknown))),
        family=family,
        complete=not found.problems,
        problem=" ".join(found.problems),
    )


_LISTS = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "if-match",
        "if-none-match",
        "pragma",
        "prefer",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)
"""Headers that may come in several lines, which mean the same as one (RFC 9110 5.3)."""


def _headers(headers: Headers) -> tuple[dict[str, str], str]:
    """The headers by lower-case name, those with `_` also under the name with `-`; and why they cannot be told."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    repeated = ""
    for name, value in headers:
        lower, plain = name.lower(), canonical(name)
        if plain not in seen:
            seen.add(plain)
            found[plain] = found[lower] = value
            continue
        joint = {"cookie": "; "}.get(plain, ", ")
        found[plain] = found[lower] = joint.join((found[plain], value))
        if plain not in _LISTS and plain != "cookie":
            repeated = repeated or f"The header {lower!r} is there more than once: servers differ on which one counts."
    return found, repeated


READER = HttpReader()
