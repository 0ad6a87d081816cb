"""A catalogue written by hand: what a server with just these tables would answer, for the tests of a policy.

Tables are plain ones in `public` unless the name gives another schema, their columns of built-in types, without triggers, rules,
defaults or references. The server's own relations and functions are there; what else is not declared does not exist. Never used on
the data path.
"""

import msgspec

from gateway_kernel.model import Json, Operation
from gateway_kernel.parse.sql.catalogue import Callable, Catalogue, Column, Question, Relation, parse_name
from gateway_kernel.parse.sql.effects import needs
from gateway_kernel.parse.sql.functions import PURE, SPECIAL

_FIRST_OID = 16_384  # the first that a server gives to a user's own objects (access/transam.h, FirstNormalObjectId)
_SYSTEM_SCHEMAS = ("pg_catalog", "information_schema")
DEFAULT_SCHEMA = "public"
MAX_ROUNDS = 16
"""Each answer may raise further questions; declared tables lead nowhere, so few rounds are enough."""

type Tables = dict[str, tuple[str, ...]]
"""A table's name, with its schema or without, and its columns in order."""


def answered(operation: Operation, tables: Tables) -> Operation:
    """Return `operation` with every answer it needs in its context. A catalogue that the context already holds stays as it is."""
    if "catalogue" in operation.context:
        return operation
    relations = _relations(tables)
    statement = str(operation.context.get("statement", ""))
    catalogue = Catalogue()
    for _ in range(MAX_ROUNDS):
        questions = needs(operation.text, catalogue, statement)
        if not questions:
            break
        for question in questions:
            catalogue = catalogue.knowing(question, msgspec.to_builtins(_answer(question, relations)))
    context: dict[str, Json] = {**operation.context, "catalogue": catalogue.document}
    return msgspec.structs.replace(operation, context=context)


def _relations(tables: Tables) -> dict[tuple[str, str], Relation]:
    found: dict[tuple[str, str], Relation] = {}
    for oid, (written, columns) in enumerate(tables.items(), _FIRST_OID):
        schema, name = parse_name(written)
        numbered = tuple(Column(column, number) for number, column in enumerate(columns, 1))
        relation = Relation(oid, schema or DEFAULT_SCHEMA, name, "r", columns=numbered)
        found[relation.schema, name] = relation
        if relation.schema == DEFAULT_SCHEMA:
            found["", name] = relation
    return found


def _answer(question: Question, relations: dict[tuple[str, str], Relation]) -> Relation | tuple[Callable, ...] | None:
    match question.kind:
        case "relation":
            return relations.get((question.schema, question.name)) or _system_relation(question)
        case "function":
            return _function(question)
        case "operator":
            return ()
        case "type":
            return None  # a built-in type, or none at all: neither runs code


def _system_relation(question: Question) -> Relation | None:
    if question.schema in _SYSTEM_SCHEMAS:
        return Relation(1, question.schema, question.name, "r", builtin=True)
    if not question.schema and question.name.startswith("pg_"):
        return Relation(1, "pg_catalog", question.name, "r", builtin=True)
    return None


def _function(question: Question) -> tuple[Callable, ...]:
    known = question.name in PURE or question.name in SPECIAL or question.name.startswith("pg_")
    if question.schema or not known:
        return ()
    return (Callable("pg_catalog", question.name, variadic=True, builtin=True),)
