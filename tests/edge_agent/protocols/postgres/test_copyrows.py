"""Masking of COPY TO STDOUT: what real PostgreSQL sends is masked, and what is left is read back by PostgreSQL itself."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.protocols.postgres import copyrows
from edge_agent.protocols.postgres.copyrows import CopyMasker, CopyOptions
from edge_agent.protocols.postgres.values import ColumnPlan, Values
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.masker import Detection
from tests.support.postgres import Postgres

TEXT, INT4, INT8, JSONB, TEXTS, BYTEA = 25, 23, 20, 3802, 1009, 17
TYPES = [INT4, TEXT, TEXT, INT8, JSONB, TEXTS, BYTEA]
COLUMNS = "id int, note text, hidden text, big int8, doc jsonb, tags text[], raw bytea"
DETECTION = Detection({"email": "redact", "credit_card": "redact"})
CARD = "4111111111111111"
ROWS = [
    (1, "plain", "h1", 5, '{"a": 1}', ["x"], b"\x00\xff"),
    (2, "to a@b.example!", "h2", int(CARD), '{"m": "a@b.example", "n": 1}', ["a@b.example", "y"], b"a@b.example"),
    (3, 'tab\t quote" back\\slash\nline, comma|', "h\n\"'\\\t,|3", None, None, None, None),
    (4, "", None, 0, '"q\\"uote a@b.example"', [], b""),
    (5, "\\.", "\\N", -1, "[]", [None, 'a "b" \\ c'], b"\\x"),
    (6, "NULL", "é ü €", 1, "{}", ["é"], b"~"),
]
LEFT = [
    (1, "plain", "***", 5, '{"a": 1}', ["x"], b"\x00\xff"),
    (2, "to ***!", "***", None, '{"m": "***", "n": 1}', ["***", "y"], None),
    (3, 'tab\t quote" back\\slash\nline, comma|', "***", None, None, None, None),
    (4, "", None, 0, '"q\\"uote ***"', [], b""),
    (5, "\\.", "***", -1, "[]", [None, 'a "b" \\ c'], b"\\x"),
    (6, "NULL", "***", 1, "{}", ["é"], b"~"),
]
PLAN: list[ColumnPlan] = [None, None, "redact", None, None, None, None]
FORMS: list[tuple[Literal["text", "csv", "binary"], str, CopyOptions]] = [
    ("text", "", CopyOptions()),
    ("text", ", delimiter '|', null 'NULL'", CopyOptions(delimiter=b"|", null=b"NULL")),
    ("text", ", header", CopyOptions(header=True)),
    ("csv", "", CopyOptions()),
    ("csv", ", header", CopyOptions(header=True)),
    ("csv", ", delimiter ';', quote '''', escape '\\', null 'nil'", CopyOptions(b";", b"nil", b"'", b"\\")),
    ("csv", ", escape '\\'", CopyOptions(escape=b"\\")),
    ("binary", "", CopyOptions()),
]


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A table with everything that COPY has to escape, and an empty one of the same shape."""
    name = postgres.create_database()
    with postgres.connect(name) as opened:
        opened.execute(f"create table source ({COLUMNS})".encode())
        opened.execute(f"create table target ({COLUMNS})".encode())
        opened.cursor().executemany("insert into source values (%s, %s, %s, %s, %s, %s, %s)", ROWS)
        yield opened
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def copied(connection: psycopg.Connection[Any]) -> dict[int, bytes]:
    """What the server sends for each of `FORMS`."""
    found: dict[int, bytes] = {}
    for index, (form, options, _) in enumerate(FORMS):
        with connection.cursor().copy(f"copy source to stdout (format {form}{options})".encode()) as copy:
            found[index] = b"".join(bytes(part) for part in copy)
    return found


def masked(index: int, chunks: list[bytes], plan: Sequence[ColumnPlan] | None = None) -> tuple[bytes, CopyMasker]:
    """The chunks through a fresh masker."""
    form, _, options = FORMS[index]
    masker = CopyMasker(form, options, TYPES, PLAN if plan is None else plan, Values(DETECTION))
    out = b"".join([masker.feed(chunk) for chunk in chunks])
    masker.finish()
    return out, masker


@pytest.mark.parametrize("index", range(len(FORMS)))
def test_the_server_reads_back_what_is_left(
    connection: psycopg.Connection[Any], copied: dict[int, bytes], index: int
) -> None:
    """The masked stream is valid COPY with the same rows, hits and ruled columns hidden, all else as it was."""
    form, options, _ = FORMS[index]
    out, masker = masked(index, [copied[index]])
    connection.execute("truncate target")
    with connection.cursor().copy(f"copy target from stdin (format {form}{options})".encode()) as copy:
        copy.write(out)
    left = connection.execute("select id, note, hidden, big, doc::text, tags, raw from target order by id").fetchall()
    if options.endswith("null 'NULL'"):  # ambiguous in text, so a ruled column is NULL throughout
        assert left == [(a, None if b == "NULL" else b, None, *rest) for a, b, _, *rest in LEFT]
    else:
        assert left == LEFT
    assert (masker.rows, masker.masked) == (6, 5)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, len(FORMS) - 1), cuts=st.lists(st.integers(0, 900), max_size=8), single=st.booleans())
def test_no_split_changes_the_output(copied: dict[int, bytes], index: int, cuts: list[int], single: bool) -> None:
    """Invariant 9 for COPY: payloads may split rows anywhere."""
    data = copied[index]
    places = range(len(data) + 1) if single else sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    chunks = [data[a:b] for a, b in pairwise(places)]
    for plan in (PLAN, [None] * len(PLAN)):
        whole, one = masked(index, [data], plan)
        parts, many = masked(index, chunks, plan)
        assert parts == whole
        assert (one.rows, one.masked) == (many.rows, many.masked)


@pytest.mark.parametrize("index", range(len(FORMS)))
def test_clean_rows_pass_unchanged(connection: psycopg.Connection[Any], index: int) -> None:
    """Detectors that find nothing change not a byte, in any format."""
    form, options, settings_ = FORMS[index]
    query = "copy (select i, 'note ' || i, 'x, y', i::int8, '{}'::jsonb, '{a}'::text[], null::bytea from generate_series(1, 50) i)"
    with connection.cursor().copy(f"{query} to stdout (format {form}{options})".encode()) as copy:
        data = b"".join(bytes(part) for part in copy)
    masker = CopyMasker(form, settings_, TYPES, [None] * 7, Values(DETECTION))
    assert masker.feed(data) == data
    masker.finish()
    assert masker.rows == 50


def test_without_any_plan_payloads_pass_as_they_are() -> None:
    """No rule and no detector: nothing is held, nothing is read."""
    masker = CopyMasker("csv", CopyOptions(), [TEXT], [None], Values())
    payload = b'half a "row'
    assert not masker.active
    assert masker.feed(payload) is payload
    masker.finish()


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("text", b"a\n"),
        ("text", b"a\tb\tc\n"),
        ("csv", b"a\n"),
        ("csv", b'a,"b"c\n'),
        ("csv", b'a,b"c"\n'),
        ("binary", b"not copy at all......"),
        ("binary", b"PGCOPY\n\xff\r\n\x00" + b"\x00\x01\x00\x00" + bytes(4)),
        ("binary", b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\x00\x03" + bytes(12)),
        ("binary", b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\x00\x02" + b"\xff\xff\xff\xfe"),
        ("binary", b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\xff\xff" + b"\x00\x02" + bytes(8)),
    ],
)
def test_what_does_not_read_as_its_format_is_refused(form: Literal["text", "csv", "binary"], data: bytes) -> None:
    """Rows of another shape than planned cannot be masked, and are not let through."""
    masker = CopyMasker(form, CopyOptions(), [TEXT, TEXT], ["redact", None], Values())
    with pytest.raises(UnmaskableError):
        masker.feed(data)


@pytest.mark.parametrize(
    ("form", "opening"),
    [("text", b""), ("csv", b'"'), ("binary", b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"\x00\x01\x7f\xff\xff\xff")],
)
def test_a_row_without_end_is_refused_not_held(form: Literal["text", "csv", "binary"], opening: bytes) -> None:
    """What is held back is bounded; and an end inside a row is an error."""
    masker = CopyMasker(form, CopyOptions(), [TEXT], ["redact"], Values())
    masker.feed(opening + b"x")
    with pytest.raises(UnmaskableError, match="inside a row"):
        masker.finish()
    chunk = b"x" * 1024 * 1024
    with pytest.raises(UnmaskableError, match="cannot be masked"):  # noqa: PT012 - the limit is met by one of them
        for _ in range(copyrows.LONGEST_ROW // len(chunk) + 1):
            assert masker.feed(chunk) == b""


def test_a_delimiter_of_two_bytes_does_not_load() -> None:
    """The options are the statement's; ones that PostgreSQL would not take are a mistake upstream of here."""
    with pytest.raises(ValueError, match="delimiter must be one byte"):
        CopyMasker("text", CopyOptions(delimiter=b"||"), [TEXT], [None], Values())
    with pytest.raises(ValueError, match="2 entries for 1 columns"):
        CopyMasker("text", CopyOptions(), [TEXT], [None, None], Values())
