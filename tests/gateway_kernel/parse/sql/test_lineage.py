"""What column masks mean, statement by statement, on a real server's catalogue: masked by position, refused with the place, or left alone."""

from typing import TYPE_CHECKING

import pytest

from gateway_kernel.model import Operation
from gateway_kernel.parse import NO_MASK
from gateway_kernel.parse.sql.lineage import Plans, plan
from gateway_kernel.verdict import ColumnMask, Strategy
from tests.masking.canaries import World, populate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Postgres

P: Strategy = "partial"
R: Strategy = "redact"
CUSTOMERS = (None, None, P, P, None, None, R)  # id, name, email, ssn, region, referrer, label

MASKED = (
    ("SELECT * FROM customers", CUSTOMERS),
    ("TABLE customers", CUSTOMERS),
    ("SELECT c.* FROM customers c", CUSTOMERS),
    ("SELECT (c).* FROM customers c", CUSTOMERS),
    ("SELECT email FROM customers", (P,)),
    ("SELECT id, email AS name FROM customers ORDER BY id", (None, P)),
    ("SELECT name AS email FROM customers ORDER BY email", (None,)),
    ("SELECT public.customers.email FROM public.customers", (P,)),
    ('SELECT "email" FROM "customers"', (P,)),
    ("SELECT e FROM customers AS c(i, n, e)", (P,)),
    ("SELECT c FROM customers c", (R,)),
    ("SELECT (c).email, (c).id FROM customers c", (P, None)),
    ("SELECT (x.c).email FROM (SELECT c FROM customers c) x", (P,)),
    ("SELECT label FROM customers", (R,)),
    ("SELECT mail FROM contacts", (P,)),
    ("SELECT * FROM nested", (P, None, None)),
    ("SELECT * FROM loud", (None, R, None)),
    ("SELECT * FROM plain", (None, None, None)),
    ("SELECT * FROM kept", (None, P, None)),
    ("SELECT * FROM vaults_low", (None, P, None)),
    ("SELECT secret FROM vaults", (P,)),
    ("SELECT * FROM employees", (None, P, None)),
    ("SELECT * FROM ONLY people", (None, P)),
    ("SELECT f FROM (SELECT email FROM customers) q(f)", (P,)),
    ("WITH w AS (SELECT email FROM customers) SELECT w.* FROM w", (P,)),
    ("WITH w(a, b) AS (SELECT email, id FROM customers) SELECT b, a FROM w", (None, P)),
    ("WITH customers AS (SELECT 'x' AS email) SELECT email FROM customers", None),
    ("WITH customers AS (SELECT email AS id FROM customers) SELECT id FROM customers", (P,)),
    (
        "WITH RECURSIVE t(i, e) AS (SELECT id, item FROM orders WHERE id = 1 UNION ALL "
        "SELECT c.id, c.email FROM customers c JOIN t ON c.referrer = t.i WHERE c.id < 3) SELECT * FROM t LIMIT 9",
        (None, P),
    ),
    ("SELECT email FROM customers UNION ALL SELECT item FROM orders", (P,)),
    ("SELECT item FROM orders UNION ALL SELECT email FROM customers", (P,)),
    ("SELECT * FROM customers NATURAL JOIN (SELECT id, item FROM orders) o", (*CUSTOMERS, None)),
    ("SELECT * FROM customers JOIN orders USING (id)", (*CUSTOMERS, None, None, None, None)),
    ("SELECT * FROM orders JOIN customers USING (region, id)", (None, None, None, None, None, None, P, P, None, R)),
    ("SELECT u.* , x.email FROM (orders JOIN customers USING (id)) AS x, generate_series(1, 1) u", (None, P)),
    ("SELECT z.q FROM customers c, LATERAL (SELECT c.email AS q) z", (P,)),
    ("SELECT v.* FROM customers c, LATERAL (VALUES (c.id, c.email)) v", (None, P)),
    ("SELECT count(*) FROM customers", (None,)),
    ("SELECT region, count(*) FROM customers GROUP BY region HAVING count(*) > 1 ORDER BY 2", (None, None)),
    ("SELECT id FROM customers WHERE email IS NOT NULL", (None,)),
    ("SELECT email IS NULL FROM customers", (None,)),
    ("SELECT EXISTS (SELECT email FROM customers)", (None,)),
    ("SELECT json_agg(c) FROM (SELECT id, name FROM customers) c", (None,)),
    ("SELECT ctid, email FROM customers", (None, P)),
    ("SELECT * FROM customers TABLESAMPLE bernoulli (100)", CUSTOMERS),
    ("INSERT INTO people VALUES (99, 'x') RETURNING *", (None, P)),
    ("UPDATE customers SET email = 'a' WHERE id = 1 RETURNING id, email", (None, P)),
    ("DELETE FROM people p USING orders o WHERE p.id = o.id RETURNING p.*, o.item", (None, P, None)),
    ("WITH d AS (DELETE FROM people RETURNING email) SELECT * FROM d", (P,)),
    ("COPY customers TO STDOUT", CUSTOMERS[:6]),
    ("COPY customers (email, id) TO STDOUT", (P, None)),
    ("COPY (SELECT id, email FROM customers) TO STDOUT", (None, P)),
    ("SELECT leak()", (R,)),
    ("SELECT leak() || 'x', 1", (R, None)),
    ("SELECT * FROM rows_of()", None),
    ("EXPLAIN SELECT id FROM customers", (None,)),
    ("SELECT id FROM customers FOR UPDATE", (None,)),
    ("MERGE INTO people p USING customers c ON p.id = c.id WHEN MATCHED THEN UPDATE SET email = 'x'", ()),
    ("INSERT INTO customers (id, email) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET email = excluded.email", ()),
    ("CREATE VIEW z AS SELECT id, name FROM customers", ()),
    ("CREATE INDEX ON customers (name)", ()),
    ("ALTER TABLE customers ADD COLUMN k int", ()),
    ("TRUNCATE people", ()),
)
"""Statement, and the strategy of each column; () if no rows come back, None if all is withheld or nothing masked is involved."""

REFUSED = (
    ("SELECT id FROM customers WHERE email = 'x'", "WHERE"),
    ("SELECT id FROM customers WHERE email = $1", "WHERE"),
    ("SELECT id FROM customers WHERE label LIKE 'c%'", "WHERE"),
    ("SELECT id FROM customers c WHERE (c).email > 'c'", "WHERE"),
    ("SELECT id FROM customers c WHERE c = c", "WHERE"),
    ("SELECT id FROM loud WHERE shout > 'C'", "WHERE"),
    ("SELECT id FROM nested WHERE address > 'C'", "WHERE"),
    ("SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM customers c WHERE c.email > 'c')", "WHERE"),
    ("SELECT 1 FROM customers c WHERE EXISTS (SELECT FROM orders o WHERE c.email > o.item)", "WHERE"),
    ("SELECT 1 FROM orders WHERE item IN (SELECT email FROM customers)", "WHERE"),
    ("SELECT 1 FROM orders WHERE leak() > 'c'", "WHERE"),
    ("SELECT 1 FROM customers c JOIN orders o ON c.email = o.item", "JOIN ON"),
    ("SELECT 1 FROM customers JOIN kept USING (email)", "JOIN USING"),
    ("SELECT 1 FROM customers NATURAL JOIN kept", "NATURAL JOIN"),
    ("SELECT count(*) FROM customers GROUP BY email", "GROUP BY"),
    ("SELECT email AS e, count(*) FROM customers GROUP BY e", "GROUP BY"),
    ("SELECT email, count(*) FROM customers GROUP BY 1", "GROUP BY"),
    ("SELECT count(*) FROM customers GROUP BY ROLLUP (region, email)", "GROUP BY"),
    ("SELECT 1 FROM customers GROUP BY region HAVING min(email) > 'c'", "HAVING"),
    ("SELECT id FROM customers ORDER BY email", "ORDER BY"),
    ("SELECT id, email FROM customers ORDER BY 2", "ORDER BY"),
    ("SELECT id, email AS e FROM customers ORDER BY e", "ORDER BY"),
    ("SELECT * FROM customers ORDER BY 3", "ORDER BY"),
    ("SELECT email FROM customers UNION ALL SELECT item FROM orders ORDER BY 1", "ORDER BY"),
    ("SELECT id FROM customers ORDER BY id LIMIT (SELECT ssn FROM customers LIMIT 1)", "LIMIT"),
    ("SELECT DISTINCT email FROM customers", "DISTINCT"),
    ("SELECT DISTINCT * FROM customers", "DISTINCT"),
    ("SELECT DISTINCT ON (email) id FROM customers", "DISTINCT ON"),
    ("SELECT email FROM customers UNION SELECT item FROM orders", "UNION"),
    ("SELECT item FROM orders INTERSECT ALL SELECT email FROM customers", "INTERSECT"),
    ("SELECT email FROM customers EXCEPT SELECT 'x'", "EXCEPT"),
    ("WITH RECURSIVE t AS (SELECT email FROM customers UNION SELECT email FROM t) TABLE t", "UNION"),
    ("SELECT rank() OVER (ORDER BY email) FROM customers", "select list"),
    ("SELECT rank() OVER w FROM customers WINDOW w AS (PARTITION BY email)", "WINDOW"),
    ("SELECT count(email) FROM customers", "select list"),
    ("SELECT count(*) FILTER (WHERE email > 'c') FROM customers", "select list"),
    ("SELECT array_agg(id ORDER BY email) FROM customers", "select list"),
    ("SELECT upper(email) FROM customers", "select list"),
    ("SELECT email || '' FROM customers", "select list"),
    ("SELECT email::text FROM customers", "select list"),
    ('SELECT email COLLATE "C" FROM customers', "select list"),
    ("SELECT CASE WHEN id = 1 THEN email END FROM customers", "select list"),
    ("SELECT CASE WHEN email > 'c' THEN 1 END FROM customers", "select list"),
    ("SELECT coalesce(email, '') FROM customers", "select list"),
    ("SELECT greatest(email, 'c') FROM customers", "select list"),
    ("SELECT nullif(email, 'x') IS NULL FROM customers", "select list"),
    ("SELECT (ARRAY[email])[1] FROM customers", "select list"),
    ("SELECT ROW(c.*) FROM customers c", "select list"),
    ("SELECT row_to_json(c) FROM customers c", "select list"),
    ("SELECT c.row_to_json FROM customers c", "select list"),
    ("SELECT (c).to_jsonb FROM customers c", "select list"),
    ("SELECT c::text FROM customers c", "select list"),
    ("SELECT (c.email).upper FROM customers c", "select list"),
    ("SELECT (SELECT email FROM customers LIMIT 1)", "select list"),
    ("SELECT ARRAY(SELECT email FROM customers)", "select list"),
    ("SELECT xmlforest(email) FROM customers", "select list"),
    ("SELECT json_agg(c) FROM (SELECT * FROM customers) c", "select list"),
    ("SELECT * FROM customers c, jsonb_each(to_jsonb(c)) j", "function in FROM"),
    ("SELECT u FROM customers c, upper(c.email) u", "function in FROM"),
    ("SELECT pg_typeof(email) FROM customers", "select list"),
    ("INSERT INTO people SELECT id, email FROM customers", "INSERT"),
    ("INSERT INTO people VALUES (1, (SELECT email FROM customers LIMIT 1))", "select list"),
    ("INSERT INTO people SELECT * FROM people", "INSERT"),
    ("INSERT INTO customers (id) VALUES (1) ON CONFLICT (email) DO NOTHING", "ON CONFLICT"),
    ("INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = customers.email", "write"),
    (
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE customers.email > 'c'",
        "WHERE",
    ),
    ("UPDATE customers SET name = email", "write"),
    ("UPDATE customers SET (name, region) = (SELECT email, region)", "write"),
    ("UPDATE orders o SET item = c.email FROM customers c WHERE c.id = o.id", "write"),
    ("UPDATE customers SET name = 'x' WHERE email LIKE 'c%'", "WHERE"),
    ("UPDATE customers SET name = 'x' RETURNING upper(email)", "RETURNING"),
    ("DELETE FROM customers WHERE email > 'c'", "WHERE"),
    ("DELETE FROM orders USING customers c WHERE c.email > 'c'", "WHERE"),
    ("MERGE INTO orders o USING customers c ON c.email = o.item WHEN MATCHED THEN DELETE", "MERGE ON"),
    ("MERGE INTO orders o USING customers c ON c.id = o.id WHEN MATCHED AND c.email > 'c' THEN DELETE", "MERGE WHEN"),
    ("MERGE INTO orders o USING customers c ON c.id = o.id WHEN MATCHED THEN UPDATE SET item = c.email", "write"),
    ("MERGE INTO people p USING customers c ON c.id = p.id WHEN NOT MATCHED THEN INSERT VALUES (1, c.email)", "write"),
    ("CREATE TABLE z AS SELECT email FROM customers", "CREATE TABLE AS"),
    ("CREATE MATERIALIZED VIEW z AS SELECT email FROM customers", "materialised view"),
    ("SELECT email INTO z FROM customers", "SELECT INTO"),
    ("CREATE VIEW z AS SELECT * FROM customers", "view"),
    ("CREATE VIEW z AS SELECT id FROM customers WHERE email > 'c'", "WHERE"),
    ("CREATE INDEX ON customers (email)", "index"),
    ("CREATE INDEX ON customers (lower(email))", "index"),
    ("CREATE INDEX ON customers (id) WHERE email > 'c'", "index"),
    ("CREATE STATISTICS z ON email, name FROM customers", "STATS"),
    ("CREATE RULE z AS ON DELETE TO orders DO ALSO SELECT email FROM customers", "RULE"),
    ("CREATE TRIGGER z BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION f()", "TRIG"),
    ("CLUSTER customers USING z", "CLUSTER"),
    ("INSERT INTO z (a[(SELECT ssn FROM customers LIMIT 1)]) VALUES (1)", "write"),
    ("SELECT nosuch FROM customers WHERE email > 'c'", "WHERE"),
    ("SELECT x.nosuch FROM nosuch JOIN customers ON nosuch.a = email", "JOIN ON"),
    ("CREATE POLICY z ON customers USING (email > 'c')", "policy"),
    ("ALTER TABLE customers RENAME TO z", "RENAME"),
    ("ALTER TABLE customers RENAME COLUMN email TO z", "RENAME"),
    ("ALTER TABLE customers SET SCHEMA z", "SCHEMA"),
    ("ALTER TABLE customers ADD CHECK (email < 'c')", "constraint"),
    ("ALTER TABLE customers ADD UNIQUE (email)", "constraint"),
    ("ALTER TABLE customers ADD COLUMN k text GENERATED ALWAYS AS (email) STORED", "constraint"),
    ("ALTER TABLE customers ALTER COLUMN name TYPE text USING email", "ALTER TABLE"),
    ("ALTER TABLE customers ALTER COLUMN email TYPE int USING 1", "ALTER TABLE"),
    ("ALTER TABLE vaults DETACH PARTITION vaults_low", "ALTER TABLE"),
    ("ALTER TABLE employees NO INHERIT people", "ALTER TABLE"),
    ("CREATE TABLE z (e text REFERENCES customers (email))", "foreign key"),
    ("EXPLAIN SELECT email FROM customers", "EXPLAIN"),
    ("EXPLAIN SELECT id FROM customers WHERE email IS NULL", "EXPLAIN"),
    ("EXPLAIN ANALYZE SELECT id FROM customers WHERE email < 'c'", "WHERE"),
    ("COPY customers TO '/tmp/x'", "COPY to a file"),
    ("COPY (SELECT email FROM customers) TO PROGRAM 'cat'", "COPY to a file"),
    ("COPY (SELECT upper(email) FROM customers) TO STDOUT", "select list"),
    ("DECLARE c CURSOR FOR SELECT id FROM customers ORDER BY email", "ORDER BY"),
    ("PREPARE p AS SELECT id FROM customers WHERE email = $1", "WHERE"),
    ("SELECT * FROM pg_stats", "copies others"),
    ("SELECT most_common_vals FROM pg_catalog.pg_stats WHERE tablename = 'orders'", "copies others"),
    ("SELECT stavalues1::text FROM pg_statistic", "copies others"),
    ("SELECT data FROM pg_largeobject", "copies others"),
    ("SELECT table_to_xml('customers', true, true, '')", "reads relations"),
    ("SELECT pg_catalog.query_to_xml('SELECT 1', true, true, '')", "reads relations"),
    ("SELECT lo_get(1)", "reads relations"),
    ("SELECT ts_stat('SELECT 1')", "reads relations"),
    ("SELECT 1 FROM customers, query_to_xml('TABLE people', true, true, '') x", "reads relations"),
    ("BEGIN; SELECT id FROM customers WHERE email > 'c'; COMMIT", "WHERE"),
    ("ROLLBACK; SELECT id FROM orders", "changes what names mean"),
    ("SET search_path TO other; SELECT id FROM orders", "changes what names mean"),
    ("SELECT set_config('search_path', 'other', false); SELECT id FROM orders", "changes what names mean"),
    ("FETCH c", "not known"),
    ("EXECUTE p", "not known"),
    ("selct", "grammar"),
)
"""Statement, and what its refusal names."""

ALONE = (
    "SELECT * FROM orders",
    "SELECT upper(item), max(total) FROM orders WHERE item LIKE 'i%' GROUP BY item ORDER BY 2",
    "INSERT INTO orders SELECT id + 100, customer_id, item, total, region FROM orders RETURNING *",
    "SELECT relname FROM pg_class",
    "SELECT name, setting FROM pg_settings ORDER BY name",
    "SELECT now(), current_user, version(), nextval('s')",
    "CREATE TABLE z AS SELECT * FROM orders",
    "EXPLAIN ANALYZE SELECT * FROM orders WHERE item > 'i'",
    "COPY orders TO STDOUT",
    "SHOW search_path",
    "BEGIN",
    "SET extra_float_digits = 3; SELECT id FROM orders",
    "VALUES (1), (2) ORDER BY 1 DESC",
    "SELECT 'customers.email'",
)


@pytest.fixture(scope="module")
def world(postgres: "Postgres") -> "Iterator[World]":
    """One canary database."""
    name = postgres.create_database()
    with postgres.connect(name) as connection:
        yield populate(connection, 1)
    postgres.drop_database(name)


@pytest.mark.parametrize(("text", "expected"), MASKED)
def test_a_masked_column_is_hidden_where_it_comes_back_bare(
    world: World, text: str, expected: tuple[Strategy | None, ...] | None
):
    """Each column by position, through whatever stands between it and its table."""
    decided = world.plan(text)
    assert not decided.refusal
    if text.startswith("WITH customers AS (SELECT 'x'"):
        assert decided is NO_MASK
        return
    assert decided.sensitive
    assert decided.outputs == (() if expected == () else (expected,))
    status, rows = world.visible(text, decided)
    assert not status.startswith("error"), status
    assert not any("canary" in row for row in rows)


@pytest.mark.parametrize(("text", "place"), REFUSED)
def test_anywhere_else_it_is_refused(world: World, text: str, place: str):
    """The refusal names the place, and carries the rule of the mask."""
    decided = world.plan(text)
    assert place in decided.refusal
    assert decided.rule == "hide-pii"
    assert decided.sensitive


@pytest.mark.parametrize("text", ALONE)
def test_what_touches_nothing_masked_is_left_alone(world: World, text: str):
    """Neither refused nor masked nor reduced."""
    assert world.plan(text) is NO_MASK


@pytest.mark.parametrize(
    "text",
    [
        text
        for text, place in REFUSED
        if place not in {"changes what names mean", "not known", "grammar"} and "leak()" not in text
    ],
)
def test_filter_allow_permits_what_deny_refuses(world: World, text: str):
    """Whoever trusts the agent with questions still hides the answers."""
    assert not world.plan(text, "allow").refusal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT upper(email), id FROM customers", (R, None)),
        ("SELECT email FROM customers ORDER BY email", (P,)),
        ("SELECT row_to_json(c) FROM customers c", (R,)),
        ("SELECT min(email), count(*) FROM customers", (R, None)),
        ("SELECT email FROM customers UNION SELECT item FROM orders", (P,)),
        ("SELECT * FROM pg_stats LIMIT 0", (R,) * 14),
    ],
)
def test_filter_allow_hides_what_is_computed_whole(world: World, text: str, expected: tuple[Strategy | None, ...]):
    """A part kept of a computed value could be the computation's own choice."""
    assert world.plan(text, "allow").outputs == (expected,)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers WHERE email = $1",
        "SELECT id FROM customers WHERE 'x' = email AND id > 1",
        "SELECT id FROM customers WHERE NOT (email = $1::text OR id = 1)",
        "SELECT id FROM customers WHERE email IN ('x', $2)",
        "DELETE FROM customers c WHERE c.email = 'x'",
        "UPDATE customers SET name = 'y' WHERE (customers).email = $1",
        "INSERT INTO customers (id) VALUES (1) ON CONFLICT (email) DO NOTHING",
    ],
)
def test_filter_equality_permits_a_given_value(world: World, text: str):
    """Whoever has the value may ask for its row."""
    assert world.plan(text).refusal
    assert not world.plan(text, "equality").refusal


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers WHERE email <> 'x'",
        "SELECT id FROM customers WHERE email = name",
        "SELECT id FROM customers WHERE email = upper($1)",
        "SELECT id FROM customers WHERE email = (SELECT 'x')",
        "SELECT id FROM customers WHERE email IN (SELECT 'x')",
        "SELECT id FROM customers WHERE lower(email) = 'x'",
        "SELECT id FROM customers WHERE email LIKE 'x'",
        "SELECT id FROM customers WHERE (email = 'x') = true",
        "SELECT email = 'x' FROM customers",
        "SELECT id FROM customers ORDER BY email = 'x'",
        "SELECT 1 FROM customers c JOIN orders o ON c.email = 'x'",
        "EXPLAIN SELECT id FROM customers WHERE email = 'x'",
        "SELECT id FROM loud WHERE shout = upper('x')",
    ],
)
def test_filter_equality_permits_nothing_else(world: World, text: str):
    """Not a range, a pattern, another column, a computed value, nor a place other than WHERE."""
    assert world.plan(text, "equality").refusal


def test_what_the_server_does_not_know_is_withheld_and_left_to_its_error(world: World):
    """The client gets PostgreSQL's own error; should there be rows after all, none is shown."""
    for text in ("SELECT nosuch FROM customers", "SELECT * FROM nosuch", "SELECT customers.id FROM customers c"):
        decided = world.plan(text)
        assert not decided.refusal
        assert decided.outputs == (None,)
        assert world.visible(text, decided)[0].startswith("error 42")


def test_each_statement_of_a_text_has_its_own_outputs(world: World):
    """In the order in which rows come back; what returns none has none."""
    decided = world.plan(
        "BEGIN; SELECT id FROM orders; SELECT email FROM customers; SHOW search_path; DELETE FROM people; COMMIT"
    )
    assert decided.outputs == ((None,), (P,), (None,))


def test_a_cursor_and_a_prepared_statement_have_the_plan_of_their_text(world: World):
    """Made in the same text, or known from the context."""
    text = "SELECT id, email FROM customers"
    together = world.plan(f"BEGIN; DECLARE c CURSOR FOR {text}; FETCH 2 FROM c; MOVE c; CLOSE c; COMMIT")
    assert together.outputs == ((None, P),)
    assert world.plan("FETCH c", statement=text).outputs == ((None, P),)
    assert world.plan("FETCH c", statement=f"DECLARE c CURSOR FOR {text}").outputs == ((None, P),)
    assert world.plan("EXECUTE p(1)", statement=f"PREPARE p AS {text}").outputs == ((None, P),)
    assert world.plan("EXECUTE p", statement="SELECT id FROM orders") is NO_MASK
    assert "ORDER BY" in world.plan("EXECUTE p", statement=f"{text} ORDER BY email").refusal
    assert "CREATE TABLE AS" in world.plan("CREATE TABLE z AS EXECUTE p", statement=text).refusal
    assert "EXPLAIN" in world.plan("EXPLAIN EXECUTE p", statement=text).refusal


def test_patterns_name_columns_by_table_schema_or_neither(world: World):
    """Part by part, without case; the server's own relations only by name."""

    def strategies(pattern: str, text: str = "SELECT id, email FROM customers") -> object:
        operation = Operation("op", "postgres", text, context={"catalogue": world.catalogue(text)})
        return plan(operation, (ColumnMask((pattern,), "null", rule="r"),)).outputs

    for pattern in (
        "customers.email",
        "public.customers.email",
        "*.email",
        "PUBLIC.Customers.EMAIL",
        '"customers"."email"',
        "email",
    ):
        assert strategies(pattern) == ((None, "null"),), pattern
    for pattern in ("other.customers.email", "orders.email", "email.customers", "customers.mail"):
        assert strategies(pattern) == (), pattern
    assert strategies("*.setting", "SELECT setting FROM pg_settings") == ()
    assert strategies("pg_settings.setting", "SELECT setting FROM pg_settings") == (("null",),)
    assert strategies("contacts.mail", "SELECT mail, email FROM contacts, customers") == (("null", None),)


def test_two_masks_on_one_column_combine_to_the_stricter(world: World):
    """The stricter strategy and the stricter filter, whichever rule each comes from."""
    masks = (ColumnMask(("customers.email",), "null", "allow", "a"), ColumnMask(("*.email",), "hash", "deny", "b"))
    context = {"catalogue": world.catalogue("SELECT email FROM customers")}
    assert plan(Operation("op", "postgres", "SELECT email FROM customers", context=context), masks).outputs == (
        ("null",),
    )
    refused = plan(Operation("op", "postgres", "SELECT 1 FROM customers ORDER BY email", context=context), masks)
    assert refused.rule == "b"


def test_an_unanswered_catalogue_refuses(world: World):
    """Nothing is guessed about a relation of which nobody has told."""
    masks = (ColumnMask(("customers.email",), "redact", rule="r"),)
    assert "catalogue" in plan(Operation("op", "postgres", "SELECT 1 FROM customers"), masks).refusal
    assert plan(Operation("op", "postgres", "SELECT 1"), masks) is NO_MASK
    malformed = {"catalogue": {"relation": {"customers": {"oid": "x"}}}}
    assert "malformed" in plan(Operation("op", "postgres", "SELECT 1 FROM customers", context=malformed), masks).refusal
    assert plan(Operation("op", "postgres", "SELECT 1 FROM customers"), ()) is NO_MASK


def test_a_deeply_nested_statement_is_refused_and_not_a_crash(world: World):
    """Python's own limit on recursion ends in a refusal."""
    text = "SELECT " + "+".join(["id"] * 3000) + " FROM customers"
    assert "nested too deeply" in world.plan(text).refusal


def test_a_remembered_plan_holds_for_its_own_context_and_masks_only(world: World):
    """The same text means something else once the catalogue, the masks or the text behind a name differ."""
    plans = Plans()
    masks = (ColumnMask(("customers.email",), "redact", rule="r"),)
    text = "SELECT id, email FROM customers"
    known = Operation("op", "postgres", text, context={"catalogue": world.catalogue(text)})
    assert plans.plan(known, masks).outputs == ((None, R),)
    assert plans.plan(known, masks) is plans.plan(known, masks)
    assert plans.plan(known, (ColumnMask(("customers.id",), "null", rule="r"),)).outputs == (("null", None),)
    assert plans.plan(Operation("op", "postgres", text), masks).refusal
    for statement, expected in ((text, ((None, R),)), ("SELECT email FROM customers", ((R,),))):
        context = {"catalogue": world.catalogue("FETCH c", statement), "statement": statement}
        assert plans.plan(Operation("op", "postgres", "FETCH c", context=context), masks).outputs == expected
