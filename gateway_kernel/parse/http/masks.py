"""What column masks mean for a request: any response may hold a masked member, and no request may ask about one sideways.

Hiding members is the masker's. Refused here is what would tell of a hidden value without showing it, or show it under another name: a filter or
an order over it in a query or a search body, a projection that renames it, an alias in GraphQL.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from graphql.language import ast

from gateway_kernel.model import Json
from gateway_kernel.parse import MaskPlan
from gateway_kernel.parse.http import graphql, pairs
from gateway_kernel.parse.http.body import FORM, Body, media_type
from gateway_kernel.parse.http.text import Head
from gateway_kernel.verdict import ColumnMask

_FILTERING = (
    "$apply $compute $filter $orderby $search aggregate aggs aggregations apply condition conditions criteria expr expression "
    "filter filters fl group groupby group_by having jql kql order orderby order_by ordering q query s search selector sort "
    "sortby sort_by sql where"
)
FILTERING = frozenset(_FILTERING.split())
"""Keys whose value is a language of its own: a masked name in it is a filter, an order or a group."""

_PROJECTING = "$expand $select columns expand fields include only returning select"
PROJECTING = frozenset(_PROJECTING.split())
"""Keys whose value says which members to return; with functions or new names some servers return them as something else."""

_SUFFIXES = (
    "asc between contains cont desc ends endswith eq exact gt gte icontains iexact ilike in isnull is like lt lte "
    "match matches max min ne neq nin not null regex search start starts startswith with"
)
_OPERATORS = frozenset(_SUFFIXES.split())
_WORD = re.compile(r"[^\W_]+(?:[-_][^\W_]+)*")
_ESCAPED = re.compile(r"\\u([0-9A-Fa-f]{4})")
_RENAMES = re.compile(r"[:(@>]|\bas\b|%3a|%28", re.IGNORECASE)


def plan(head: Head, body: Body, speaks: str, masks: tuple[ColumnMask, ...]) -> MaskPlan:
    """Return the plan for `masks`, which are not empty."""
    for mask in masks:
        refusal = _refusal(head, body, speaks, mask)
        if refusal:
            return MaskPlan(refusal, mask.rule, sensitive=True)
    return MaskPlan(sensitive=True)


def _refusal(head: Head, body: Body, speaks: str, mask: ColumnMask) -> str:
    names = {_plain(column.rpartition(".")[2]): column for column in mask.columns}
    if speaks == "graphql":
        return _graphql(head, body, mask)
    if mask.filter == "allow":
        return ""
    anything = "*" in names
    for key, value in pairs.lenient(head.query):
        if (named := _asked(key, value, names, equality=mask.filter == "equality", anything=anything)) is not None:
            return f"The query asks about {named}, which is hidden."
    return _in_body(head, body, names, anything=anything)


def _asked(key: str, value: str, names: dict[str, str], *, equality: bool, anything: bool) -> str | None:
    """The masked column that a name and value of a query ask about."""
    low = key.strip().lower()
    if low in FILTERING or _outer(low) in FILTERING:
        if anything and value:
            return names["*"]
        return _mentioned(f"{key} {value}", names)
    if low in PROJECTING and _RENAMES.search(value):
        return names["*"] if anything else _mentioned(value, names)
    for name in _key_names(low):
        if name in names and not (equality and _plain(low) == name):
            return names[name]
    return None


def _outer(key: str) -> str:
    """`filter[email]` and `filter.email` filter."""
    return re.split(r"[\[.]", key, maxsplit=1)[0]


def _key_names(key: str) -> Iterator[str]:
    """What a key may name: itself, the parts of `user[email]`, `user.email`, and the field of `email__contains`, `email_eq`, `-email`."""
    for piece in re.split(r"[\[\].]+|__", key):
        words = [word for word in re.split(r"[-_]", piece) if word]
        yield "".join(words)
        while len(words) > 1 and words[-1] in _OPERATORS:
            words.pop()
            yield "".join(words)


def _plain(name: str) -> str:
    """`cardNumber`, `card_number` and `card-number` are one name in different hands."""
    return name if name == "*" else name.lower().replace("_", "").replace("-", "")


def _mentioned(text: str, names: dict[str, str]) -> str | None:
    if "\\u" in text:
        text = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), text)
    for word in _WORD.findall(text):
        for name in _key_names(word.lower()):
            if name in names:
                return names[name]
    return None


def _in_body(head: Head, body: Body, names: dict[str, str], *, anything: bool) -> str:
    """Searches that come in a body: `{"filter": {"email": ...}}`, `{"query": {"match": {"email": ...}}}`, or in a form."""
    if body.why:
        media = media_type(head.headers)
        if media.encoded and (media.type == FORM or media.type.endswith("json")):
            return "The body is encoded, so nobody can see whether it asks about what is hidden."
        return _in_text(body.text, names)
    if not isinstance(body.value, dict):
        return ""
    for key, value in cast("dict[str, Json]", body.value).items():
        low = key.lower()
        if low not in FILTERING:
            continue
        named = names["*"] if anything and value else _mentioned(json.dumps(value, ensure_ascii=False), names)
        if named is not None:
            return f"The body asks about {named}, which is hidden."
    return ""


def _in_text(text: str, names: dict[str, str]) -> str:
    """A body that some server may read and nobody here can: a filter in it is taken at its word."""
    if text and any(f'"{key}"' in text.lower() for key in FILTERING):
        named = _mentioned(text, names)
        if named is not None:
            return f"The body asks about {named}, which is hidden."
    return ""


def _graphql(head: Head, body: Body, mask: ColumnMask) -> str:
    """An alias would show a hidden field under another name; an argument would filter by it."""
    patterns = [tuple(column.split(".")) for column in mask.columns]
    plain = {_plain(pattern[-1]): ".".join(pattern) for pattern in patterns}
    if head.method in ("GET", "HEAD", "OPTIONS") and not head.query:
        return ""
    try:
        for source, variables in graphql.requests(head, body):
            for field in graphql.fields(source):
                for pattern in patterns:
                    if _ends(field.names, pattern) and not _ends(field.shown, pattern):
                        return f"The query gives {'.'.join(pattern)}, which is hidden, another name; ask for it by its own."
                if mask.filter != "allow" and (named := _argument(field, variables, plain)):
                    return f"The query filters by {named}, which is hidden."
    except graphql.GraphqlError as error:
        return str(error)
    return ""


def _argument(field: graphql.Field, variables: Json, names: dict[str, str]) -> str | None:
    """The masked column that the arguments of a field ask about. What a mutation stores is no question; its filters are."""
    for argument in field.arguments:
        name = argument.name.value
        if field.operation == "mutation" and name.lower() not in FILTERING:
            continue
        if (named := _mentioned(" ".join(_words(name, argument.value, variables)), names)) is not None:
            return named
    return None


def _words(name: str, value: Any, variables: Json) -> Iterator[str]:
    yield name
    match value:
        case ast.ObjectValueNode():
            for field in value.fields:
                yield from _words(field.name.value, field.value, variables)
        case ast.ListValueNode():
            for item in value.values:
                yield from _words("", item, variables)
        case ast.EnumValueNode():
            yield value.value
        case ast.StringValueNode() if name.lower() in FILTERING:
            yield value.value
        case ast.VariableNode():
            yield json.dumps(variables, ensure_ascii=False)
        case _:
            pass


def _ends(path: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """True if `path` ends with `pattern`. The fields stand in the member `data` of a GraphQL response, which is the root `$`."""
    tail = ("$", "data", *path)[-len(pattern) :]
    return len(tail) == len(pattern) and all(
        want == "*" or want.casefold() == name.casefold() for want, name in zip(pattern, tail, strict=True)
    )
