"""Two databases that differ only in their masked columns, and what a client of each would see.

`World.visible` applies a plan to a real result the way the edge does: a masked column shows nothing. What must not depend on masked
content can then be compared between both worlds. The catalogue is the server's own, asked as the plan asks.
"""

import json
from dataclasses import dataclass, field
from typing import Any, LiteralString, cast

import psycopg

from edge_agent.protocols.postgres.catalogue import statement
from gateway_kernel.model import Json, Operation
from gateway_kernel.parse import MaskPlan
from gateway_kernel.parse.sql.catalogue import Catalogue, Question
from gateway_kernel.parse.sql.effects import needs
from gateway_kernel.parse.sql.lineage import plan
from gateway_kernel.verdict import ColumnMask, Filter

HIDDEN = "***"
WITHHELD = "withheld"

SCHEMA = """
CREATE TABLE customers (
    id int PRIMARY KEY, name text, email text, ssn int, region text, referrer int,
    label text GENERATED ALWAYS AS ('<' || email || '>') STORED
);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, item text, total int, region text);
CREATE TABLE vaults (id int, secret text, region text) PARTITION BY RANGE (id);
CREATE TABLE vaults_low PARTITION OF vaults FOR VALUES FROM (0) TO (3);
CREATE TABLE vaults_high PARTITION OF vaults FOR VALUES FROM (3) TO (100);
CREATE TABLE people (id int, email text);
CREATE TABLE employees (salary int) INHERITS (people);
CREATE VIEW contacts AS SELECT id, email AS mail, region FROM customers;
CREATE VIEW nested AS SELECT c.mail AS address, o.item, c.id FROM contacts c JOIN orders o ON o.customer_id = c.id;
CREATE VIEW loud AS SELECT id, upper(email) AS shout, region FROM customers;
CREATE VIEW plain AS SELECT o.id, o.item, c.name FROM orders o JOIN customers c ON c.id = o.customer_id;
CREATE MATERIALIZED VIEW kept AS SELECT id, email, region FROM customers;
CREATE FUNCTION leak() RETURNS text LANGUAGE sql AS 'SELECT min(email) FROM customers';
CREATE FUNCTION rows_of() RETURNS TABLE (a int, b text) LANGUAGE sql AS 'SELECT id, email FROM customers';
"""

MASKED = (
    "customers.email", "customers.ssn", "vaults.secret", "people.email",
)  # fmt: skip


def rows(world: int) -> str:
    """The content of a world: the same rows in both, except what is masked."""
    lines = ["INSERT INTO orders SELECT i, i % 5, 'item' || i % 4, i * 10, 'r' || i % 3 FROM generate_series(1, 9) i;"]
    for i in range(6):
        # The second world reverses every order and ties what differs in the first, so that each comparison shows.
        canary = f"canary{i}x{i}@secret{i}.example" if world == 1 else f"canary{9 - i // 2}y@hidden{9 - i // 2}.example"
        number = 770000 + i if world == 1 else 779999 - i // 2
        lines.append(f"INSERT INTO customers VALUES ({i}, 'name{i}', '{canary}', {number}, 'r{i % 3}', {(i + 1) % 6});")
        lines.append(f"INSERT INTO vaults VALUES ({i}, '{canary}', 'r{i % 2}');")
        lines.append(
            f"INSERT INTO people VALUES ({i}, '{canary}'); INSERT INTO employees VALUES ({i + 10}, '{canary}', {i});"
        )
    return "\n".join([*lines, "REFRESH MATERIALIZED VIEW kept;"])


@dataclass
class World:
    """One database, with its catalogue and the masks on it."""

    connection: psycopg.Connection[Any]
    answers: dict[Question, Json] = field(default_factory=dict[Question, Json])

    def catalogue(self, text: str, behind: str = "") -> dict[str, Any]:
        """What an edge knows when it judges `text`: the answers to what `needs` asks, and no more."""
        known = Catalogue()
        while wanted := needs(text, known, behind):
            for question in wanted:
                if question not in self.answers:
                    self.answers[question] = self._ask(question)
                known = known.knowing(question, self.answers[question])
        return known.document

    def _ask(self, question: Question) -> Json:
        """The answer by the edge's own lookup."""
        row = self.connection.execute(statement(question)).fetchone()
        assert row is not None
        return json.loads(row[0]) if isinstance(row[0], str) else row[0]

    def plan(self, text: str, filter_: Filter = "deny", statement: str = "") -> MaskPlan:
        """What the masks of this world mean for a statement."""
        masks = (ColumnMask(MASKED, "partial", filter_, "hide-pii"),)
        context = {"catalogue": self.catalogue(text, statement), "statement": statement}
        return plan(Operation("op", "postgres", text, context=context), masks)

    def visible(self, text: str, decided: MaskPlan) -> tuple[str, list[str]]:
        """What a client sees of one statement: its outcome and its rows without what is masked. Nothing is kept."""
        try:
            with self.connection.transaction(force_rollback=True):
                status, answered, width = self._run(text)
        except psycopg.Error as error:
            return f"error {error.sqlstate}", []
        if not decided.outputs:
            return status, sorted(map(repr, answered))
        (output,) = decided.outputs
        if output is None:
            return status, [WITHHELD]
        assert len(output) == width, (text, output, width)
        shown = [tuple(HIDDEN if mask else value for mask, value in zip(output, row, strict=True)) for row in answered]
        return status, sorted(map(repr, shown))

    def _run(self, text: str) -> tuple[str, list[tuple[Any, ...]], int]:
        """The outcome, the rows and the number of columns; COPY gives text."""
        statement = cast("LiteralString", text).encode()
        if not text.lower().startswith("copy"):
            cursor = self.connection.execute(statement)
            answered = cursor.fetchall() if cursor.description else []
            return cursor.statusmessage or "", answered, len(cursor.description or ())
        with self.connection.cursor() as cursor:
            with cursor.copy(statement) as copy:
                lines = b"".join(bytes(part) for part in copy).decode().splitlines()
            rows = [tuple(line.split("\t")) for line in lines]
            return cursor.statusmessage or "", rows, len(rows[0]) if rows else 0


def populate(connection: psycopg.Connection[Any], world: int) -> World:
    """Fill a database."""
    connection.execute(cast("LiteralString", SCHEMA + rows(world)).encode())
    return World(connection)
