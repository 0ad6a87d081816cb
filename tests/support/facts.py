"""Operations as the edge would read them, with the catalogue asked over a direct connection instead of in-band."""

from typing import Any

import msgspec
import psycopg

from edge_agent.protocols.postgres.catalogue import statement
from gateway_kernel.model import Json, Operation
from gateway_kernel.parse.sql.catalogue import Catalogue
from gateway_kernel.parse.sql.effects import needs
from gateway_kernel.parse.sql.postgres import READER

ROUNDS = 40  # of questions for one text: more means that the answers do not lead to an end


def catalogue_of(connection: psycopg.Connection[Any], text: str, behind: str = "") -> dict[str, Json]:
    """What this server says about everything that `text` names."""
    known = Catalogue()
    for _ in range(ROUNDS):
        questions = needs(text, known, behind)
        if not questions:
            return known.document
        for question in questions:
            rows = connection.execute(statement(question)).fetchall()
            assert len(rows) == 1
            assert len(rows[0]) == 1
            known = known.knowing(question, msgspec.json.decode(rows[0][0]))
    raise AssertionError(f"the questions about {text!r} do not end")


def operation_on(connection: psycopg.Connection[Any], text: str, behind: str = "", **context: Json) -> Operation:
    """The operation `text` as it would be judged on this connection; `behind` is the text under a name that it uses."""
    facts: dict[str, Json] = {"catalogue": catalogue_of(connection, text, behind), **context}
    if behind:
        facts["statement"] = behind
    return READER.read(Operation("op", "postgres", text, context=facts, size=len(text)))
