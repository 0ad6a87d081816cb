"""Bound values in binary form read as the server itself prints them."""

import pytest

from gateway_kernel.model import Parameter
from gateway_kernel.parse.sql.parameters import text_of
from tests.support.postgres import Postgres

VALUES = [
    "true", "7::int2", "-7::int4", "9007199254740993::int8", "'x é'::text", "'v'::varchar(9)", "'b'::char(3)", "'n'::name",
    "'a'::\"char\"", "4294967295::oid", "0::numeric", "-0.00012::numeric", "12345678901234567890.05::numeric(30,2)",
    "10000::numeric", "1e20::numeric", "123456.789000::numeric", "'2026-02-28'::date", "'1999-12-31 23:59:59.5'::timestamp",
    "'2026-01-01 12:00:00+02'::timestamptz", "'6f9619ff-8b86-d011-b42d-00cf4fc964ff'::uuid", "'{\"a\": 1}'::json",
    "'{\"a\": 1}'::jsonb", "'\\xdeadbeef'::bytea",
]  # fmt: skip


@pytest.mark.parametrize("literal", VALUES)
def test_binary_reads_as_the_server_prints(literal: str, postgres: Postgres):
    """The value fetched in binary and shown by us is the value fetched as text."""
    with postgres.connect() as connection:
        connection.execute("SET timezone = 'UTC'")
        query = f"SELECT {literal}".encode()
        text = connection.pgconn.exec_params(query, None, result_format=0)
        binary = connection.pgconn.exec_params(query, None, result_format=1)
    printed, raw = text.get_value(0, 0), binary.get_value(0, 0)
    assert printed is not None
    assert text_of(Parameter(str(binary.ftype(0)), raw, "binary")) == printed.decode()


@pytest.mark.parametrize(
    ("kind", "value"),
    [("600", bytes(16)), ("23", b"\x01"), ("16", b"\x02"), ("1700", b"\x00\x01\x00\x00\xc0\x00\x00\x00"), ("1700", b"\x00"),
     ("1184", b"\x7f" + b"\xff" * 7), ("3802", b"\x02{}"), ("25", b"\xff")],
)  # fmt: skip
def test_what_cannot_be_told_is_none(kind: str, value: bytes):
    """Another type, a wrong length, NaN, infinity or broken text is None, never a guess."""
    assert text_of(Parameter(kind, value, "binary")) is None


def test_null_and_text():
    """NULL is empty, text is itself, and text that is no UTF-8 cannot be told."""
    assert text_of(Parameter("23", None, "binary")) == ""
    assert text_of(Parameter("point", b"(1,2)")) == "(1,2)"
    assert text_of(Parameter("text", b"\xff")) is None
