"""A catalogue written by hand: what a server with just these tables would answer, for the tests of a policy.

Tables are plain ones in `public` unless the name gives another schema, their columns of built-in types, without triggers, rules,
defaults or references. What is not declared does not exist. Never used on the data path.
"""

import msgspec

from gateway_kernel.model import Json, Operation
from gateway_kernel.parse.sql.catalogue import KINDS, Column, Relation, parse_name, qualified

_FIRST_OID = 16_384  # the first that a server gives to a user's own objects (access/transam.h, FirstNormalObjectId)
DEFAULT_SCHEMA = "public"


def relations(tables: dict[str, tuple[str, ...]]) -> dict[str, Relation]:
    """Return the relation that each name means, under its qualified name and, in `public`, under its bare one too."""
    found: dict[str, Relation] = {}
    for oid, (written, columns) in enumerate(tables.items(), _FIRST_OID):
        schema, name = parse_name(written)
        relation = Relation(
            oid=oid,
            schema=schema or DEFAULT_SCHEMA,
            name=name,
            kind="r",
            columns=tuple(Column(column, number) for number, column in enumerate(columns, 1)),
        )
        found[relation.label] = relation
        if relation.schema == DEFAULT_SCHEMA:
            found[qualified("", name)] = relation
    return found


def answered(operation: Operation, tables: dict[str, tuple[str, ...]]) -> Operation:
    """Return `operation` with the answers in its context. A catalogue that the context already holds stays as it is."""
    if "catalogue" in operation.context:
        return operation
    relation = {key: msgspec.to_builtins(found) for key, found in relations(tables).items()}
    catalogue: Json = {kind: {} for kind in KINDS} | {"relation": relation}
    return msgspec.structs.replace(operation, context={**operation.context, "catalogue": catalogue})
