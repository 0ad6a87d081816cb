"""Every statement of the grammar has its line, and does what the line says."""

from pathlib import Path

import pytest
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Facts, Operation
from gateway_kernel.parse.sql.effects import HOUSEKEEPING
from gateway_kernel.parse.sql.postgres import READER
from gateway_kernel.parse.sql.statements import STATEMENTS
from gateway_kernel.parse.sql.syntax import HANDLERS, TRANSPARENT

DOCUMENTED = Path(__file__).parents[4] / "docs" / "postgres-effects.md"
TABLES: dict[str, tuple[str, ...]] = {"t": ("a", "b"), "s.u": ("a",)}

# Made by the planner, by PL/pgSQL, or a part of another statement that is walked through.
NOT_SENT = {"RawStmt", "SetOperationStmt", "PLAssignStmt", "ReturnStmt", "ReplicaIdentityStmt"}


def facts_of(text: str) -> Facts:
    """What `text` does on a server with two plain tables."""
    return READER.declare(Operation("op", "postgres", text), TABLES).facts


def test_the_table_covers_the_grammar() -> None:
    """A statement that a new grammar brings fails here first, and is unknown until it has a line."""
    kinds = {field.message_type.name for field in pg.Node.DESCRIPTOR.oneofs[0].fields if field.message_type is not None}
    assert {kind for kind in kinds if kind.endswith("Stmt")} - NOT_SENT == set(STATEMENTS)


def test_nodes_of_the_planner_are_unknown() -> None:
    """What no text can produce is not waved through."""
    assert not {"Query", "Var", "Const", "FuncExpr", "OpExpr", "RangeTblEntry", "SubPlan"} & (
        set(HANDLERS) | TRANSPARENT
    )


# text | verb | effects as kind:object
SENT = """
SELECT a FROM t | SELECT | read:public.t
SELECT 1 | SELECT | read:
TABLE s.u | SELECT | read:s.u
INSERT INTO t VALUES (1, 2) | INSERT | write:public.t
INSERT INTO t SELECT a, a FROM s.u | INSERT | write:public.t read:s.u
UPDATE t SET a = 1 WHERE b = 2 | UPDATE | write:public.t
UPDATE t SET a = 1 RETURNING b | UPDATE | read:public.t write:public.t
DELETE FROM t USING s.u WHERE t.a = u.a | DELETE | delete:public.t read:s.u
MERGE INTO t USING s.u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT VALUES (1, 2) \
| MERGE | read:public.t write:public.t read:s.u
TRUNCATE t, s.u | TRUNCATE | delete:public.t delete:s.u
COPY t TO STDOUT | COPY | read:public.t transfer:public.t
COPY t (a) FROM STDIN | COPY | write:public.t transfer:public.t
COPY t TO PROGRAM 'x' | COPY | read:public.t transfer:public.t execute:program
COPY t FROM '/x' | COPY | write:public.t transfer:public.t execute:server file
COPY (SELECT a FROM t) TO STDOUT | COPY | transfer: read:public.t
LOCK t | LOCK | write:public.t
LOCK t IN ACCESS SHARE MODE | LOCK | read:public.t
EXPLAIN DELETE FROM t | EXPLAIN | read:public.t
EXPLAIN ANALYZE DELETE FROM t | EXPLAIN | delete:public.t
EXPLAIN (ANALYZE off) DELETE FROM t | EXPLAIN | read:public.t
EXPLAIN (analyze) INSERT INTO t VALUES (1, 2) | EXPLAIN | write:public.t
EXPLAIN CREATE TABLE n AS SELECT a FROM t | EXPLAIN | read:n read:public.t
PREPARE p AS DELETE FROM t | PREPARE | delete:public.t
DEALLOCATE p | DEALLOCATE | transaction:deallocate
DECLARE c CURSOR FOR SELECT a FROM t | DECLARE | read:public.t
CLOSE c | CLOSE | transaction:close
CREATE TABLE n AS SELECT a FROM t | CREATE TABLE AS | schema:n write:n read:public.t
SELECT a INTO n FROM t | SELECT | schema:n write:n read:public.t
CREATE MATERIALIZED VIEW n AS SELECT a FROM t | CREATE TABLE AS | schema:n write:n read:public.t
REFRESH MATERIALIZED VIEW t | REFRESH MATERIALIZED VIEW | write:public.t
BEGIN | BEGIN | transaction:begin
START TRANSACTION READ ONLY | BEGIN | transaction:begin
COMMIT | COMMIT | transaction:commit
ROLLBACK | ROLLBACK | transaction:rollback
SAVEPOINT s | SAVEPOINT | transaction:savepoint
RELEASE s | RELEASE | transaction:release
ROLLBACK TO s | ROLLBACK TO | transaction:rollback to
COMMIT PREPARED 'g' | COMMIT PREPARED | write:prepared:g
SET CONSTRAINTS ALL DEFERRED | SET CONSTRAINTS | transaction:set constraints
SET search_path = x | SET | session:set:search_path
SET LOCAL Search_Path = x | SET | session:set:search_path
SET SCHEMA 'x' | SET | session:set:search_path
SET NAMES 'x' | SET | session:set:client_encoding
SET TIME ZONE 'UTC' | SET | session:set:timezone
SET ROLE x | SET | session:set:role
SET SESSION AUTHORIZATION x | SET | session:set:session_authorization
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE | SET | transaction:set transaction
SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE | SET | session:set:session_characteristics
RESET search_path | SET | session:set:search_path
RESET ALL | SET | session:reset:all
SHOW search_path | SHOW | read:setting:search_path
DISCARD ALL | DISCARD | session:discard:all
SELECT set_config('JIT', 'off', true) | SELECT | session:set:jit
SELECT set_config('jit'::text, 'off', true) | SELECT | session:set:jit
SELECT set_config('jitter'::varchar(3), 'off', true) | SELECT | session:set:?
SELECT set_config(new_value => 'jit', setting_name => 'role', is_local => true) | SELECT | session:set:?
SELECT set_config($1, 'off', true) | SELECT | session:set:?
SELECT current_setting('Role') | SELECT | read:setting:role
SELECT nextval('T'::regclass) | SELECT | write:public.t
SELECT setval('s.u', 3), currval('t') | SELECT | write:s.u read:public.t
SELECT nextval($1) | SELECT | write:
SELECT pg_notify('c', 'x') | SELECT | write:channel:c
NOTIFY c, 'x' | NOTIFY | write:channel:c
LISTEN c | LISTEN | session:listen:c
UNLISTEN * | UNLISTEN | session:unlisten:*
DO 'x' | DO | execute:code block
CALL f(1) | CALL | execute:f
LOAD 'x' | LOAD | execute:shared library
CHECKPOINT | CHECKPOINT | execute:checkpoint
ALTER SYSTEM SET a = 1 | ALTER SYSTEM | privilege:server configuration execute:server configuration
VACUUM t | VACUUM | schema:public.t
ANALYZE | ANALYZE | schema: execute:index expressions
CLUSTER t USING i | CLUSTER | schema:public.t
REINDEX TABLE t | REINDEX | schema:public.t
REINDEX INDEX i | REINDEX | schema:i execute:index expressions
CREATE TABLE n (a integer) | CREATE TABLE | schema:n
CREATE TABLE n (LIKE t) | CREATE TABLE | schema:n read:public.t
ALTER TABLE t ADD COLUMN c integer | ALTER TABLE | schema:public.t
ALTER TABLE t OWNER TO x | ALTER TABLE | schema:public.t privilege:public.t
ALTER TABLE t DISABLE TRIGGER ALL | ALTER TABLE | schema:public.t privilege:public.t
ALTER TABLE t RENAME TO n | ALTER | schema:public.t
ALTER TABLE t SET SCHEMA s | ALTER | schema:public.t
CREATE FOREIGN TABLE n (a integer) SERVER s | CREATE FOREIGN TABLE | schema:s execute:s schema:n
CREATE VIEW n AS SELECT a FROM t | CREATE VIEW | schema:n read:public.t
CREATE INDEX i ON t (a) | CREATE INDEX | schema:public.t
CREATE SEQUENCE n | CREATE SEQUENCE | schema:n
CREATE SCHEMA n | CREATE SCHEMA | schema:n
CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f() | CREATE TRIGGER | schema:public.t
CREATE RULE r AS ON INSERT TO t DO DELETE FROM s.u | CREATE RULE | schema:public.t delete:s.u
DROP TABLE t | DROP | schema:public.t
DROP FUNCTION f(integer) | DROP | schema:f
COMMENT ON TABLE t IS 'x' | COMMENT | schema:t
CREATE TYPE n AS (a integer) | CREATE TYPE | schema:n
CREATE TYPE n AS ENUM ('x') | CREATE TYPE | schema:n
CREATE DOMAIN n AS integer | CREATE DOMAIN | schema:n
CREATE FUNCTION n() RETURNS integer LANGUAGE sql AS 'x' | CREATE FUNCTION | schema:n
ALTER FUNCTION n() SECURITY DEFINER | ALTER FUNCTION | schema:n privilege:n
CREATE CAST (integer AS text) WITH INOUT | CREATE CAST | schema:
CREATE EXTENSION n | CREATE EXTENSION | schema:n execute:n
CREATE EVENT TRIGGER n ON ddl_command_end EXECUTE FUNCTION f() | CREATE EVENT TRIGGER | schema:f execute:f
CREATE SERVER n FOREIGN DATA WRAPPER w | CREATE SERVER | schema:w execute:w
IMPORT FOREIGN SCHEMA x FROM SERVER y INTO z | IMPORT FOREIGN SCHEMA | schema: execute:foreign server
CREATE PUBLICATION n FOR TABLE t | CREATE PUBLICATION | schema:n transfer:n read:public.t
CREATE SUBSCRIPTION n CONNECTION 'x' PUBLICATION p | CREATE SUBSCRIPTION | schema:n transfer:n execute:n
CREATE DATABASE n | CREATE DATABASE | schema:database
CREATE TABLESPACE n LOCATION '/x' | CREATE TABLESPACE | schema:n execute:n
GRANT SELECT ON t TO x | GRANT | privilege:public.t
GRANT x TO y | GRANT | privilege:role membership
REVOKE ALL ON SCHEMA s FROM x | GRANT | privilege:s
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x | ALTER DEFAULT PRIVILEGES | privilege:default privileges
CREATE ROLE x | CREATE ROLE | privilege:role
ALTER ROLE x SET a = 1 | ALTER ROLE | privilege:role
DROP OWNED BY x | DROP OWNED | privilege: schema:
CREATE POLICY p ON t USING (a = 1) | CREATE POLICY | schema:public.t privilege:public.t
SECURITY LABEL ON TABLE t IS 'x' | SECURITY LABEL | schema:t privilege:t
"""
LINES = [tuple(part.strip() for part in line.split(" | ")) for line in SENT.strip().splitlines()]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_a_statement_does_what_its_line_says(line: tuple[str, str, str]) -> None:
    """Verb and effects, in no order, and nothing else."""
    text, verb, effects = line
    facts = facts_of(text)
    said = {f"{effect.kind.value}:{effect.object}" for effect in facts.effects}
    expected = {"".join(part) for part in _pieces(effects)}
    assert (facts.problem, facts.verb, said) == ("", verb, expected)


def _pieces(effects: str) -> list[str]:
    """Split at the kinds: objects may contain spaces."""
    kinds = ("read:", "write:", "delete:", "schema:", "privilege:", "execute:", "session:", "transfer:", "transaction:")
    pieces: list[str] = []
    for word in effects.split(" "):
        if word.startswith(kinds):
            pieces.append(word)
        else:
            pieces[-1] += " " + word
    return pieces


def test_every_verb_and_every_housekeeping_effect_is_documented() -> None:
    """docs/postgres-effects.md speaks of each."""
    page = DOCUMENTED.read_text()
    verbs = {statement.verb for statement in STATEMENTS.values()} - {"TRANSACTION"}
    assert not {name for name in verbs | HOUSEKEEPING if f"`{name}`" not in page}
