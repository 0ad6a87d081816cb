"""Random SQL over hidden columns through the whole product: whatever the expression, no hidden value is in what the client received.

The statements are those of tests/masking, where the judgement alone is tried; here the bytes on the client's side of the wire are
searched, in the simple and the extended protocol, text and binary, COPY in its three formats, cursors, and what errors say.
"""

import base64
import hashlib
import random
import struct
from collections.abc import Iterator

import pytest

from sallyport.local_postgres import Postgres
from tests.masking.canaries import MASKED, SCHEMA, rows
from tests.masking.grammar import Grammar
from tests.support.guarded import Behind, Guarded, guarded
from tests.support.wire import FORMS, Told, tell

STATEMENTS = 25
SEEDS = range(4)
COPIES = ("TEXT", "CSV", "BINARY")

POLICY = """
version: 1
default: deny
rules:
- {{id: everything, when: "true", then: allow}}
- id: hide
  when: resource.name == "strict"
  then: mask
  mask: [{{columns: [{columns}], with: "null", filter: deny}}]
- id: hide-but-compare
  when: resource.name == "lenient"
  then: mask
  mask: [{{columns: [{columns}], with: redact, filter: allow}}]
- {{id: record, when: "true", then: record, record: {{responses: full}}}}
""".format(columns=", ".join(f'"{name}"' for name in MASKED))


def _signs() -> tuple[bytes, ...]:
    """Each hidden value as it is, folded, backwards, hashed, in hex and in base64; numbers as text and as int4."""
    signs = {b"canary", b"CANARY", b"yranac", b"secret0.example", b"canary".hex().encode(), base64.b64encode(b"canary")}
    for number in range(6):
        mail, ssn = f"canary{number}x{number}@secret{number}.example", 770000 + number
        for value in (mail, f"<{mail}>", mail.upper(), str(ssn)):
            signs |= {hashlib.md5(value.encode(), usedforsecurity=False).hexdigest().encode()}
        signs |= {str(ssn).encode(), str(ssn)[::-1].encode(), struct.pack("!ii", 4, ssn)}
    return tuple(signs)


SIGNS = _signs()


@pytest.fixture(scope="module")
def behind(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The canary world behind the product, once under `filter: deny` and once under `filter: allow`."""
    name = postgres.create_database(SCHEMA + rows(1))
    resources = {"strict": Behind(name), "lenient": Behind(name)}
    with guarded(tmp_path_factory.mktemp("canaries"), postgres, POLICY, resources) as found:
        yield found
    postgres.drop_database(name)


def shown(behind: Guarded) -> list[bytes]:
    """The hidden values, in any form that we know, among the bytes that the client received."""
    received = behind.tap.take().replace(b"'canary3'", b"")  # a literal of the grammar's, which EXPLAIN prints again
    return [sign for sign in SIGNS if sign in received]


def attempts(statement: str, number: int) -> list[tuple[str, str]]:
    """(text, form) of everything that is tried with a statement: the numbers take turns, so that the run stays short."""
    tried = [(statement, form) for form in FORMS]
    tried.append((f"COPY ({statement}) TO STDOUT (FORMAT {COPIES[number % 3]})", FORMS[number % 2]))
    tried += [
        ("BEGIN", "simple"), (f"DECLARE c CURSOR FOR {statement}", FORMS[number % 2]), ("FETCH 2 FROM c", FORMS[number % 3]),
        ("FETCH ALL FROM c", FORMS[(number + 1) % 3]), ("ROLLBACK", "simple"),
    ]  # fmt: skip
    again = (
        [("PREPARE p AS " + statement, "simple"), ("EXECUTE p", FORMS[number % 2]), ("DEALLOCATE ALL", "simple")],
        [(f"SELECT q::text::int FROM ({statement}) q", FORMS[number % 3])],
        [(f"EXPLAIN (ANALYZE, VERBOSE) {statement}", "simple")],
        [(f"INSERT INTO orders (item) SELECT q::text FROM ({statement}) q RETURNING *", "simple")],
        [
            (
                f"SELECT (SELECT string_agg(q::text, ',') FROM ({statement}) q), 1 / (id - 1) FROM orders",
                FORMS[number % 3],
            )
        ],
        [
            (f"CREATE TEMP TABLE stolen AS {statement}", "simple"),
            ("TABLE stolen", "text"),
            ("DROP TABLE IF EXISTS stolen", "simple"),
        ],
    )
    return tried + again[number % len(again)]


@pytest.mark.parametrize("resource", ["strict", "lenient"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_canary_reaches_the_client(behind: Guarded, resource: str, seed: int) -> None:
    """Rows, errors, plans, copies, cursors: all of it is searched, and the connection goes on."""
    grammar = Grammar(random.Random(4000 + seed))
    answered = 0
    with behind.connect(resource) as agent:
        for number in range(STATEMENTS):
            for text, form in attempts(grammar.statement(), number):
                if resource == "lenient" and text.startswith("CREATE"):
                    continue  # `filter: allow` lets a hidden column be the source of a table: docs/masking-sql.md
                behind.tap.take()
                told = tell(agent, text, form)
                assert not shown(behind), (form, text, told)
                assert not agent.closed, (form, text, told)
                answered += not told.error and told.rows > 0
    assert answered > STATEMENTS, "too few statements are answered for this to show anything"


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_in_an_error_stays_there(behind: Guarded, form: str) -> None:
    """Casts, duplicate keys, checks and divisions print values; what touches a hidden column keeps only its SQLSTATE."""
    with behind.connect("lenient") as agent:
        for text, state in (
            ("SELECT email::int FROM customers", "22P02"),
            ("SELECT 1 / (ssn - 770001) FROM customers", "22012"),
            ("SELECT to_date(email, 'YYYY') FROM customers", "22007"),
            ("SELECT email::json FROM customers", "22P02"),
            ("SELECT name FROM customers WHERE email::numeric > 0", "22P02"),
            ("INSERT INTO customers (id, name) VALUES (1, 'again')", "23505"),
            ("UPDATE customers SET id = 1", "23505"),
        ):
            behind.tap.take()
            told: Told = tell(agent, text, form)
            assert told.error == state, told
            assert not shown(behind), (text, told)


def test_the_signs_would_be_seen(behind: Guarded) -> None:
    """The same search finds such values where they come from no hidden column."""
    with behind.connect("strict") as agent:
        behind.tap.take()
        tell(
            agent,
            "SELECT 'canary0x0@secret0.example', upper('canary'), reverse('canary'), md5('770001'), encode('canary', 'hex')",
        )
        assert len(shown(behind)) >= 5
        tell(agent, "SELECT 770003", "binary")
        assert struct.pack("!ii", 4, 770003) in shown(behind)
