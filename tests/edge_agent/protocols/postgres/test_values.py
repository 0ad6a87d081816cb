"""Masking of single values: real PostgreSQL writes them in text and binary, and both must be judged alike."""

import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from edge_agent.protocols.postgres import pgtypes
from edge_agent.protocols.postgres.values import Values
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.verdict import Strategy
from tests.support.postgres import Postgres

CARD = "4111111111111111"
DETECTION: dict[str, Strategy] = {"email": "redact", "credit_card": "redact", "ip_address": "redact"}

HIT = [
    "'to a@b.example'::text",
    "'a@b.example'::varchar(40)",
    "'a@b.example'::char(30)",
    "'a@b.example'::name",
    f"{CARD}::int8",
    f"-{CARD}::int8",
    f"{CARD}::numeric",
    f"{CARD}.250::numeric",
    "'10.1.2.3/24'::inet",
    "'2001:db8::1'::inet",
    "'10.1.2.0/24'::cidr",
    """'{"m": ["a@b.example", 1]}'::json""",
    r"""'{"m": "a\u0040b.example"}'::json""",
    r"""'{"m": "a\u0040b.example"}'::jsonb""",
    f"""'{{"card": {CARD}}}'::jsonb""",
    "array['x', null, 'a@b.example', 'q\"uo\\te']",
    "array[['x','a@b.example'],['y','z']]",
    f"array[1, null, {CARD}]::int8[]",
    f"array[{CARD}]::numeric[]",
    "array['10.1.2.3']::inet[]",
    """array['{"m": "a@b.example"}']::jsonb[]""",
    "'a@b.example'::bytea",
    "array['a@b.example'::bytea]",
    f"row(1, 'x \"y\" (z)', 'a@b.example', null, {CARD}::int8)",
    f"row(row('deep', array['a@b.example']), {CARD}::int8)",
    f"int8range(1, {CARD})",
    f"numrange({CARD}, null)",
    "xmlparse(content '<m>a@b.example</m>')",
    "xmlparse(content '<m>a&#64;b.example</m>')",
    "'a@b.example'::mail",
    "'a@b.example'::plain",
]
CLEAN = [
    "'nothing here'::text",
    "42::int8",
    "(-9223372036854775808)::int8",
    "3.14::numeric",
    "'NaN'::numeric",
    "0.00001::numeric",
    "123456789012.5::numeric",
    "true",
    "now()",
    "current_date",
    "1.5::float8",
    "gen_random_uuid()",
    "'{}'::text[]",
    "array['x', null, 'q\"uo\\te']",
    "array[1,2]",
    """'{"a": [1, 2.50, null]}'::jsonb""",
    "row(1, 'x', null)",
    "row()",
    "int8range(1, 5)",
    "int4range(1, 5)",
    "'empty'::int8range",
    "'\\x00ff10'::bytea",
    "xmlparse(content '<m/>')",
    "'fine'::mail",
    "'fine'::plain",
    "array[]::int8[]",
    "'[0:1]={a,b}'::text[]",
]


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """One session with an enum, and a domain over text."""
    name = postgres.create_database()
    with postgres.connect(name) as opened:
        opened.execute("create type mail as enum ('a@b.example', 'fine')")
        opened.execute("create domain plain as text")
        yield opened
    postgres.drop_database(name)


def fetch(connection: psycopg.Connection[Any], expression: str, form: int) -> tuple[int, bytes]:
    """The type oid and the raw bytes of one expression in text (0) or binary (1)."""
    result = connection.pgconn.exec_params(f"select {expression}".encode(), None, result_format=form)
    value = result.get_value(0, 0)
    assert value is not None, result.error_message
    return result.ftype(0), value


@pytest.mark.parametrize("expression", HIT)
def test_a_hit_is_hidden_in_text_and_in_binary(connection: psycopg.Connection[Any], expression: str) -> None:
    """Invariant 9: neither format lets the content through, and both agree on whether the value becomes NULL."""
    outcomes: list[bool] = []
    for form in (0, 1):
        oid, value = fetch(connection, expression, form)
        values = Values(Detection(DETECTION))
        masked = values.detect(oid, form == 1, value)
        outcomes.append(masked is None)
        assert masked is not value, (form, value)
        assert values.counts, (form, value)
        if masked is not None:
            assert b"b.example" not in masked
            assert CARD.encode() not in masked
            assert struct.pack("!q", int(CARD)) not in masked
            name = connection.execute("select %s::regtype::text", [oid]).fetchone()
            if form == 0 and oid != pgtypes.RECORD:  # the server itself must read what is left
                assert name is not None
                connection.execute(sql.SQL("select {}::{}").format(masked.decode(), sql.SQL(name[0])))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("expression", CLEAN)
def test_a_clean_value_stays_untouched_in_both_formats(connection: psycopg.Connection[Any], expression: str) -> None:
    """No hit, no change: not even a different way of writing it."""
    for form in (0, 1):
        oid, value = fetch(connection, expression, form)
        assert Values(Detection(DETECTION)).detect(oid, form == 1, value) is value


def test_elements_and_fields_are_hidden_one_by_one() -> None:
    """The neighbours of a hit keep their bytes."""
    values = Values(Detection(DETECTION))
    assert values.detect(1009, False, b'{x,"a@b.example",NULL}') == b'{x,"***",NULL}'
    assert values.detect(1016, False, b"{1,4111111111111111}") == b"{1,NULL}"
    assert values.detect(pgtypes.RECORD, False, b'(1,"say ""a@b.example""",)') == b'(1,"say \\"***\\"",)'
    assert values.detect(pgtypes.RECORD, False, b"(1,4111111111111111)") == b"(1,)"


@pytest.mark.parametrize(
    ("oid", "binary", "value"),
    [
        (1009, False, b'{"open'),
        (1009, True, b"\x00\x00"),
        (1009, True, struct.pack("!iiI", 1, 0, 23) + bytes(8)),
        (pgtypes.RECORD, False, b"no brackets"),
        (pgtypes.RECORD, True, struct.pack("!iIi", 1, 25, 99)),
        (pgtypes.RECORD, False, b"(" * 500 + b"a@b.example" + b")" * 500),
        (pgtypes.NUMERIC, True, b"\x00"),
        (pgtypes.INET, True, b"\x02\x20\x00\x04\x01"),
        (pgtypes.JSON, False, b"a@b.example"),
        (pgtypes.JSONB, True, b"\x02{}"),
        (99999, True, b"\x00\x01\x02"),
        (99999, True, b"\xff\xfe"),
    ],
)
def test_what_does_not_read_as_its_type_is_withheld(oid: int, binary: bool, value: bytes) -> None:
    """Malformed, too deep, or of a binary form that nobody here knows: NULL, and counted."""
    values = Values(Detection(DETECTION))
    assert values.detect(oid, binary, value) is None
    assert values.counts["withheld"] == 1


def test_the_tables_of_types_are_those_of_the_server(connection: psycopg.Connection[Any]) -> None:
    """Every built-in array that we name has the element that the catalogue says, and no oid is mistaken."""
    rows = connection.execute(
        "select oid::int8, typelem::int8 from pg_type where typcategory = 'A' and oid < 16384"
    ).fetchall()
    server = dict(rows)  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert {
        array: element for array, element in pgtypes.ARRAYS.items() if array in server and server[array] != element
    } == {}
    assert set(pgtypes.ARRAYS) <= set(server) | {2287}
    texts = connection.execute(
        "select oid::int8, typcategory::text, typname::text from pg_type where oid < 16384 and typtype in ('b', 'r', 'm', 'p')"
    ).fetchall()
    for oid, category, name in texts:
        assert isinstance(oid, int)
        if oid in pgtypes.NEVER:
            assert category not in ("S", "A") or str(name).endswith("vector"), name


def test_hashing_a_column_without_a_key_does_not_load() -> None:
    """The error says which strategy lacks what, when the result is described and not when its first row comes."""
    with pytest.raises(ValueError, match="needs masking keys"):
        Values().by_plan("token", 25)
    assert Values(keys=MaskingKeys.derive(b"x" * 16)).by_plan("token", 25)(b"a") != b"a"
