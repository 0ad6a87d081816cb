"""Rewritten SQL means what was asked, on paper and on a real server; what cannot be rewritten is refused."""

from typing import TYPE_CHECKING, LiteralString, cast

import msgspec
import psycopg
import pytest

from gateway_kernel.errors import UnrewritableError
from gateway_kernel.model import Effect, EffectKind, Facts, Operation, Parameter, SqlFacts
from gateway_kernel.parse.sql.rewriting import READ_ONLY, limited, rewrite
from gateway_kernel.verdict import Rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Postgres

LIMITED = (
    ("select * from t", "SELECT * FROM t LIMIT 10"),
    ("select * from t limit 50", "SELECT * FROM t LIMIT 10"),
    ("select * from t limit all", "SELECT * FROM t LIMIT 10"),
    ("select * from t limit 5000000000", "SELECT * FROM t LIMIT 10"),
    ("select * from t fetch first 50 rows only", "SELECT * FROM t LIMIT 10"),
    ("select * from t limit $1", "SELECT * FROM t LIMIT LEAST($1::bigint, 10)"),
    ("select * from t limit 2 + 3 offset $2", "SELECT * FROM t LIMIT LEAST((2 + 3)::bigint, 10) OFFSET $2"),
    ("select a from t order by a for update", "SELECT a FROM t ORDER BY a LIMIT 10 FOR UPDATE"),
    ("select 1 union select 2 order by 1", "SELECT 1 UNION SELECT 2 ORDER BY 1 LIMIT 10"),
    ("(select 1 limit 3) union all select 2", "(SELECT 1 LIMIT 3) UNION ALL SELECT 2 LIMIT 10"),
    ("values (1), (2)", "VALUES (1), (2) LIMIT 10"),
    ("table t", "SELECT * FROM t LIMIT 10"),
    (
        "with d as (delete from t returning a) select a from d",
        "WITH d AS (DELETE FROM t RETURNING a) SELECT a FROM d LIMIT 10",
    ),
    ("copy (select 1) to stdout csv", "COPY (SELECT 1 LIMIT 10) TO STDOUT CSV"),
    ("declare c cursor for select 1", "DECLARE c CURSOR FOR SELECT 1 LIMIT 10"),
    ("prepare p(int) as select $1", "PREPARE p(int) AS SELECT $1 LIMIT 10"),
    ("select 1; begin; select 2", "SELECT 1 LIMIT 10; BEGIN; SELECT 2 LIMIT 10"),
    (
        "select a from t order by a fetch first 3 rows with ties",
        "SELECT * FROM (SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS WITH TIES) limited LIMIT 10",
    ),
)

UNCHANGED = (
    "select * from t limit 10",
    "select * from t fetch first row only",
    "select * from t limit -1",
    "select * into x from t",
    "select * into x from t union all select * from t",
    "create table x as select * from t",
    "explain analyze select * from t",
    "copy (select 1) to '/tmp/x'",
    "copy t from stdin",
    "delete from t returning *",
    "insert into t select * from t",
    "show search_path",
)


def operation(text: str, *parameters: Parameter, kind: EffectKind = EffectKind.READ) -> Operation:
    """An operation as a reader leaves it, with one effect."""
    facts = Facts("SELECT", (Effect(kind),), SqlFacts())
    return Operation("op", "postgres", text, parameters=parameters, size=len(text), facts=facts)


def reread(operation: Operation) -> Operation:
    """A reader that finds a delete in a text with DELETE, and a read in any other."""
    kind = EffectKind.DELETE if "delete" in operation.text.lower() else EffectKind.READ
    return msgspec.structs.replace(operation, facts=Facts("", (Effect(kind),), SqlFacts()))


@pytest.mark.parametrize(("text", "expected"), LIMITED)
def test_a_limit_caps_the_rows_that_reach_the_client(text: str, expected: str):
    """Each form that hands out rows of a query gets the smaller limit."""
    assert limited(text, 10) == expected


@pytest.mark.parametrize("text", UNCHANGED)
def test_what_needs_no_limit_keeps_its_text(text: str):
    """Byte for byte the agent's own text, comments and spaces included."""
    assert limited(text, 10) == text


@pytest.mark.parametrize(("text", "expected"), LIMITED)
def test_a_limited_statement_is_not_limited_twice(text: str, expected: str):
    """A rewrite of its own result changes nothing."""
    assert limited(expected, 10) == expected
    assert text != expected


@pytest.mark.parametrize("text", ["copy t to stdout", "copy t (a) to stdout", "select from from", "select '"])
def test_what_cannot_be_limited_is_refused(text: str):
    """COPY of a whole table and text that is no SQL are refused rather than sent as they are."""
    with pytest.raises(UnrewritableError):
        limited(text, 10)


def test_a_name_stands_for_a_text_that_must_be_limited_already():
    """EXECUTE and FETCH bring rows of a text sent before; one that may bring more is refused."""
    for text in ("execute p", "fetch all c"):
        assert limited(text, 10, "SELECT a FROM t LIMIT 10") == text
        assert limited(text, 10, "DELETE FROM t RETURNING *") == text
        for behind in ("SELECT a FROM t", "SELECT a FROM t LIMIT 11", ""):
            with pytest.raises(UnrewritableError, match="without a limit of 10 rows"):
                limited(text, 10, behind)
    assert limited("move c", 10) == "move c"
    assert limited("prepare p as select 1; execute p", 10) == "PREPARE p AS SELECT 1 LIMIT 10; EXECUTE p"


def test_a_tree_that_does_not_survive_deparsing_is_refused(monkeypatch: pytest.MonkeyPatch):
    """If the text written back read differently, another statement than the judged one would run."""
    monkeypatch.setattr("postgast.deparse", lambda _tree: "DELETE FROM t")  # pyright: ignore[reportUnknownArgumentType]
    with pytest.raises(UnrewritableError, match="reads differently"):
        limited("select * from t", 10)


def test_nothing_to_change_returns_the_same_operation():
    """The judge tells a rewrite by identity."""
    asked = operation("select 1 limit 1")
    assert rewrite(asked, Rewrite(limit=5), reread) is asked
    assert rewrite(asked, Rewrite(replace="select 1 limit 1"), reread) is asked
    assert rewrite(asked, Rewrite(), reread) is asked


def test_read_only_marks_reads_and_nothing_else():
    """The mark is in the context, so that the digest covers it; a write is left to the policy's rules."""
    asked = operation("select 1")
    marked = rewrite(asked, Rewrite(read_only=True), reread)
    assert marked.context[READ_ONLY] is True
    assert marked.text == asked.text
    assert rewrite(marked, Rewrite(read_only=True), reread) is marked

    deleting = operation("delete from t", kind=EffectKind.DELETE)
    assert rewrite(deleting, Rewrite(read_only=True), reread) is deleting


def test_read_only_looks_at_the_statement_that_will_run():
    """The mark follows the effects of the replacement, not of the statement that it replaces."""
    kept = rewrite(operation("select 1"), Rewrite(replace="delete from t", read_only=True), reread)
    assert READ_ONLY not in kept.context
    tamed = rewrite(
        operation("delete from t", kind=EffectKind.DELETE), Rewrite(replace="select 2", read_only=True), reread
    )
    assert tamed.context[READ_ONLY] is True


def test_a_replacement_runs_instead_and_is_limited_too():
    """Both parts of a rule hold together, and the size is that of the new text."""
    final = rewrite(operation("select * from t"), Rewrite(replace="select id from t", limit=3), reread)
    assert final.text == "SELECT id FROM t LIMIT 3"
    assert final.size == len(final.text)


def test_a_replacement_must_fit_the_bound_parameters():
    """A missing value would fail upstream; a policy that needs one is refused here, with the number."""
    one = Parameter("23", b"7")
    assert rewrite(operation("select $1", one), Rewrite(replace="select 2, $1"), reread).text == "select 2, $1"
    assert rewrite(operation("select $1"), Rewrite(replace="select $1, 5"), reread).text == "select $1, 5"
    with pytest.raises(UnrewritableError, match=r"uses \$2, but the statement has 1"):
        rewrite(operation("select $1", one), Rewrite(replace="select $1, $2"), reread)


@pytest.mark.parametrize("replacement", ["select 1; select 2", "", "selct 1"])
def test_a_replacement_is_one_statement(replacement: str):
    """The extended protocol carries exactly one."""
    with pytest.raises(UnrewritableError):
        rewrite(operation("select 9"), Rewrite(replace=replacement), reread)


def test_streamed_input_is_not_handed_to_another_statement():
    """COPY data that was judged for one table never reaches another."""
    copying = msgspec.structs.replace(operation("copy t from stdin"), body_digest="00" * 32)
    with pytest.raises(UnrewritableError, match="streams input"):
        rewrite(copying, Rewrite(replace="copy u from stdin"), reread)


@pytest.fixture(scope="module")
def connection(postgres: "Postgres") -> "Iterator[psycopg.Connection]":
    """A table of 30 rows with ties, in a database of its own."""
    name = postgres.create_database("CREATE TABLE t AS SELECT i AS id, i / 4 AS grp FROM generate_series(1, 30) i")
    with postgres.connect(name) as connection:
        yield connection
    postgres.drop_database(name)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id, id FROM t ORDER BY id DESC",
        "SELECT id FROM t ORDER BY id OFFSET 3",
        "SELECT id FROM t ORDER BY id LIMIT 4 + 20 OFFSET 2",
        "SELECT id FROM t ORDER BY id LIMIT NULL",
        "SELECT grp, 'x' FROM t ORDER BY grp DESC FETCH FIRST 6 ROWS WITH TIES",
        "SELECT id FROM t ORDER BY id FETCH FIRST 6 ROWS WITH TIES",
        "WITH u AS (UPDATE t SET grp = grp RETURNING id) SELECT id FROM u ORDER BY id FETCH FIRST 2 ROWS WITH TIES",
        "SELECT id FROM t UNION ALL SELECT id FROM t ORDER BY 1 DESC",
        "VALUES (3), (1), (2) ORDER BY 1",
        "SELECT id FROM t ORDER BY id FOR UPDATE",
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 40) SELECT i FROM n",
        "SELECT DISTINCT ON (grp) grp, id FROM t ORDER BY grp, id",
        "SELECT grp, count(*) FROM t GROUP BY grp ORDER BY grp",
    ],
)
def test_the_server_returns_the_first_rows_of_the_original(connection: psycopg.Connection, text: str):
    """A limited statement gives exactly the first seven rows that the original gives, with the same columns."""
    asked = connection.execute(cast("LiteralString", text))
    rows, columns = asked.fetchall(), [(column.name, column.type_code) for column in asked.description or ()]
    answered = connection.execute(cast("LiteralString", limited(text, 7)))
    assert answered.fetchall() == rows[:7]
    assert [(column.name, column.type_code) for column in answered.description or ()] == columns


def test_a_limit_parameter_keeps_its_type(connection: psycopg.Connection):
    """`LIMIT $1` is an int8 before and after, and the smaller number wins whichever side it is on."""
    for given, expected in ((3, 3), (25, 7), (None, 7)):
        prepared = connection.execute(f"PREPARE p AS {limited('SELECT id FROM t LIMIT $1', 7)}".encode())
        assert prepared.statusmessage == "PREPARE"
        types = connection.execute(
            "SELECT parameter_types::text FROM pg_prepared_statements WHERE name = 'p'"
        ).fetchone()
        assert types == ("{bigint}",)
        value = b"NULL" if given is None else str(given).encode()
        assert len(connection.execute(b"EXECUTE p(" + value + b")").fetchall()) == expected
        connection.execute("DEALLOCATE p")
