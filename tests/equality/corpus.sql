-- constants and types
SELECT 1
SELECT NULL
SELECT true, false
SELECT 1::smallint, 2::int, 3::bigint
SELECT 1.5::real, 2.25::double precision
SELECT 'NaN'::float8, 'Infinity'::float8, '-Infinity'::float4
SELECT 1.10::numeric, 'NaN'::numeric, 12345678901234567890.123456789::numeric
SELECT 'text', 'vc'::varchar, 'ch'::char(5), 'n'::name
SELECT 'it''s', E'tab\there', $$dollar$$, $tag$ta'g$tag$
SELECT U&'\0041\0042'
SELECT 'a' 'b'
SELECT '\x00ff'::bytea, 'abc'::bytea
SELECT date '2024-02-29', time '12:34:56.789', timestamp '2024-02-29 12:34:56', timestamptz '2024-02-29 12:34:56+02'
SELECT interval '1 year 2 months 3 days 04:05:06.7', interval '-1 day'
SELECT 'infinity'::timestamp, '-infinity'::date
SELECT '{1,2,NULL}'::int[], '{{1,2},{3,4}}'::int[], ARRAY['a','b"c'], ARRAY[]::text[]
SELECT ROW(1,'a',NULL), ROW(1,ROW(2,3))
SELECT (1,'x')::pair
SELECT '{"a":1}'::json, '{"b": [1,2]}'::jsonb, 'null'::jsonb
SELECT '550e8400-e29b-41d4-a716-446655440000'::uuid
SELECT '10.0.0.1'::inet, '10.0.0.0/8'::cidr, '08:00:2b:01:02:03'::macaddr
SELECT point(1,2), box(point(0,0),point(1,1)), circle(point(0,0),1)
SELECT int4range(1,5), daterange('2024-01-01','2024-02-01','[]'), '{[1,2],[5,6]}'::int4multirange
SELECT B'1010', B'10'::varbit
SELECT 'happy'::mood, 5::positive
SELECT '12.34'::money
SELECT 'a & b'::tsquery, 'a b c'::tsvector
SELECT 'public'::regnamespace, 'int4'::regtype
SELECT 123::oid, '0/16B3740'::pg_lsn
SELECT '<a>x</a>'::xml
SELECT '$.a'::jsonpath
SELECT x'1F'::int
SELECT 1_000
SELECT -5 % 3, 5 / 2, 5.0 / 2, 2 ^ 10
SELECT 'é', '日本語', '🙂'
SELECT ''
-- expressions and functions
SELECT 1 + 1 AS two
SELECT 1 = 1, 1 <> 2, 1 < 2 AND NOT false
SELECT NULL IS NULL, NULL = NULL, 1 IS DISTINCT FROM NULL
SELECT CASE WHEN 1 > 2 THEN 'a' ELSE 'b' END
SELECT coalesce(NULL, 'x'), nullif(1, 1), greatest(1, 3, 2), least(1, 3, 2)
SELECT length('hello'), upper('x'), lower('Y'), initcap('a b'), reverse('abc')
SELECT substring('hello' FROM 2 FOR 3), position('l' IN 'hello'), overlay('abc' PLACING 'X' FROM 2)
SELECT trim('  x  '), ltrim('xxa', 'x'), lpad('1', 3, '0'), repeat('ab', 3)
SELECT split_part('a,b,c', ',', 2), string_to_array('a,b', ','), array_to_string(ARRAY[1,2], '-')
SELECT concat('a', NULL, 'b'), 'a' || 'b', format('%s-%I-%L', 'a', 'b c', 'd''e')
SELECT 'abc' LIKE 'a%', 'abc' ILIKE 'A%', 'abc' SIMILAR TO '(a|b)%', 'abc' ~ '^a', regexp_replace('aaa', 'a', 'b', 'g')
SELECT md5('x'), encode('abc'::bytea, 'hex'), decode('YWJj', 'base64')
SELECT abs(-1), ceil(1.2), floor(1.8), round(2.567, 2), trunc(2.9), mod(7, 3), power(2, 3), sqrt(16)
SELECT extract(year FROM date '2024-05-06'), date_trunc('month', timestamp '2024-05-06 07:08:09'), date_part('dow', date '2024-05-06')
SELECT date '2024-01-31' + interval '1 month', date '2024-03-01' - date '2024-02-01', age(timestamp '2024-01-01', timestamp '2020-02-02')
SELECT to_char(1234.5, '9,999.99'), to_char(date '2024-05-06', 'YYYY-MM-DD'), to_date('06052024', 'DDMMYYYY'), to_number('12,3', '99G9')
SELECT array_length(ARRAY[1,2,3], 1), ARRAY[1,2] || 3, ARRAY[1,2] @> ARRAY[1], (ARRAY[1,2,3])[2], (ARRAY[1,2,3])[1:2]
SELECT unnest(ARRAY[1,2,3])
SELECT jsonb_build_object('a', 1, 'b', ARRAY[1,2]), json_build_array(1, 'x', NULL)
SELECT '{"a": {"b": 2}}'::jsonb -> 'a' ->> 'b', '{"a": 1}'::jsonb ? 'a', '[1,2]'::jsonb @> '1'
SELECT jsonb_path_query('{"a": [1,2,3]}', '$.a[*] ? (@ > 1)')
SELECT jsonb_set('{"a":1}', '{a}', '2'), jsonb_pretty('{"a":1}')
SELECT * FROM jsonb_each('{"a":1,"b":2}')
SELECT * FROM jsonb_to_recordset('[{"a":1,"b":"x"}]') AS t(a int, b text)
SELECT generate_series(1, 5)
SELECT * FROM generate_series(1, 10, 3) AS g(n)
SELECT * FROM generate_series(date '2024-01-01', '2024-01-03', '1 day')
SELECT row_number() OVER (), n FROM generate_series(1, 3) AS n
SELECT cast('1' AS int), '2'::text::int
SELECT 1 IN (1, 2), 3 NOT IN (1, 2), 1 = ANY (ARRAY[1]), 2 > ALL (ARRAY[0, 1])
SELECT 5 BETWEEN 1 AND 10, 5 BETWEEN SYMMETRIC 10 AND 1
SELECT EXISTS (SELECT 1), (SELECT 2), ARRAY(SELECT generate_series(1, 3))
SELECT ROW(1, 2) = ROW(1, 2), (1, 2) < (1, 3)
SELECT current_schema, current_schemas(true)
SELECT current_setting('TimeZone'), current_setting('no.such', true)
SELECT pg_typeof(1), pg_typeof('x'::text)
SELECT width_bucket(5.35, 0.024, 10.06, 5), gcd(12, 18), factorial(5)
SELECT timestamp '2024-01-01' AT TIME ZONE 'UTC'
SELECT make_date(2024, 5, 6), make_interval(days => 3), justify_days(interval '40 days')
SELECT to_timestamp(0) AT TIME ZONE 'UTC'
SELECT num_nulls(1, NULL), num_nonnulls(1, NULL)
SELECT bit_count(B'1011'), get_bit(B'1011', 1)
SELECT to_tsvector('english', 'the quick fox'), to_tsquery('english', 'fox'), to_tsvector('english', 'fox') @@ to_tsquery('english', 'fox')
SELECT quote_ident('a b'), quote_literal('a''b'), quote_nullable(NULL)
SELECT chr(65), ascii('A'), translate('abc', 'ab', 'xy'), strpos('abc', 'b'), left('abc', 2), right('abc', 2)
SELECT isfinite(date '2024-01-01'), (date '2024-01-01', date '2024-02-01') OVERLAPS (date '2024-01-15', date '2024-03-01')
-- queries
SELECT * FROM people ORDER BY id
SELECT id, name FROM people WHERE id = 1
SELECT name AS n, score * 2 AS double FROM people ORDER BY 1
SELECT count(*), count(score), sum(score), avg(score), min(name), max(born) FROM people
SELECT mood, count(*) FROM people GROUP BY mood ORDER BY mood
SELECT mood, count(*) FROM people GROUP BY mood HAVING count(*) > 1
SELECT mood, active, count(*) FROM people GROUP BY ROLLUP (mood, active) ORDER BY 1, 2
SELECT mood, active, count(*) FROM people GROUP BY CUBE (mood, active) ORDER BY 1, 2, 3
SELECT mood, grouping(mood), count(*) FROM people GROUP BY GROUPING SETS ((mood), ()) ORDER BY 1
SELECT DISTINCT active FROM people ORDER BY 1
SELECT DISTINCT ON (mood) mood, id FROM people ORDER BY mood, id
SELECT p.name, o.total FROM people p JOIN orders o ON o.person = p.id ORDER BY o.id
SELECT p.name, o.total FROM people p LEFT JOIN orders o ON o.person = p.id ORDER BY p.id, o.id
SELECT p.name, o.id FROM people p RIGHT JOIN orders o ON o.person = p.id ORDER BY o.id
SELECT p.name, o.id FROM people p FULL JOIN orders o ON o.person = p.id ORDER BY p.id, o.id
SELECT count(*) FROM people CROSS JOIN orders
SELECT a.id, b.id FROM people a, people b WHERE a.id < b.id ORDER BY 1, 2
SELECT id FROM people NATURAL JOIN adults ORDER BY id
SELECT * FROM people JOIN adults USING (id, name, born) ORDER BY id
SELECT name FROM people WHERE id IN (SELECT person FROM orders) ORDER BY id
SELECT name FROM people p WHERE EXISTS (SELECT 1 FROM orders o WHERE o.person = p.id) ORDER BY id
SELECT name, (SELECT count(*) FROM orders o WHERE o.person = p.id) FROM people p ORDER BY id
SELECT s.n FROM (SELECT name AS n, id FROM people) s ORDER BY s.id
SELECT p.id, l.total FROM people p, LATERAL (SELECT total FROM orders o WHERE o.person = p.id ORDER BY total DESC LIMIT 1) l ORDER BY 1
WITH a AS (SELECT id FROM people) SELECT count(*) FROM a
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t
WITH a AS MATERIALIZED (SELECT 1 AS x), b AS NOT MATERIALIZED (SELECT 2 AS y) SELECT * FROM a, b
SELECT 1 UNION SELECT 2 ORDER BY 1
SELECT 1 UNION ALL SELECT 1
SELECT id FROM people INTERSECT SELECT person FROM orders ORDER BY 1
SELECT id FROM people EXCEPT SELECT person FROM orders
VALUES (1, 'a'), (2, 'b')
TABLE adults ORDER BY id
SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS v(n, t) ORDER BY n
SELECT id FROM people ORDER BY id DESC NULLS LAST LIMIT 2 OFFSET 1
SELECT id FROM people ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT id FROM people ORDER BY active FETCH FIRST 1 ROWS WITH TIES
SELECT id, rank() OVER (ORDER BY total DESC), sum(total) OVER (PARTITION BY person ORDER BY id) FROM orders ORDER BY id
SELECT id, lag(total) OVER w, lead(total) OVER w, first_value(id) OVER w FROM orders WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, avg(total) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders ORDER BY id
SELECT array_agg(name ORDER BY id), string_agg(name, ',' ORDER BY id), json_agg(id ORDER BY id) FROM people
SELECT count(*) FILTER (WHERE active) FROM people
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total) FROM orders
SELECT bool_and(active), bool_or(active), every(active), bit_or(id) FROM people
SELECT corr(id, total), stddev(total), variance(total) FROM orders
SELECT p FROM people p WHERE id = 2
SELECT (p).name FROM people p ORDER BY id
SELECT row_to_json(p) FROM people p WHERE id = 1
SELECT to_jsonb(o) - 'placed' FROM orders o ORDER BY id
SELECT * FROM adults ORDER BY id
SELECT * FROM totals ORDER BY person
SELECT * FROM parted ORDER BY id
SELECT * FROM ONLY parted
SELECT tableoid::regclass, id FROM parted ORDER BY id
SELECT "Col A", "select" FROM "Odd Name" ORDER BY 1
SELECT extra -> 'k' -> 2 FROM people WHERE id = 1
SELECT tags[1], cardinality(tags) FROM people ORDER BY id
SELECT name FROM people WHERE tags @> '{math}'
SELECT name FROM people WHERE 'math' = ANY (tags)
SELECT name FROM people WHERE extra ? 'k'
SELECT name FROM people WHERE seen > '2020-01-01' ORDER BY id
SELECT lower(name) FROM people WHERE lower(name) = 'ada'
SELECT * FROM people TABLESAMPLE BERNOULLI (100) ORDER BY id
SELECT id FROM people WHERE name LIKE '%"%'
SELECT add_one(41)
SELECT shout('hey')
SELECT id FROM people_like('A%')
SELECT * FROM people_like('%e%') ORDER BY id
SELECT x.* FROM people p, unnest(p.tags) WITH ORDINALITY AS x(tag, n) WHERE p.id = 1
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(5, 7)) AS r(a, b)
SELECT id, name FROM people WHERE (id, name) IN ((1, 'Ada'), (2, 'Bo')) ORDER BY id
SELECT count(*) FROM people WHERE born IS NOT NULL AND NOT (active IS TRUE)
SELECT /* a comment */ 1 -- another
SELECT 1;
;
SELECT count(*) FROM secrets
SELECT 1 WHERE false
SELECT FROM people
SELECT nextval('numbers'), currval('numbers')
SELECT setval('numbers', 500)
-- catalogue
SELECT count(*) > 0 FROM pg_class
SELECT relname FROM pg_class WHERE relname = 'people'
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'orders' ORDER BY ordinal_position
SELECT typname FROM pg_type WHERE typname IN ('int4', 'mood') ORDER BY 1
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0 ORDER BY attnum
SELECT pg_get_viewdef('adults'::regclass)
SELECT indexname FROM pg_indexes WHERE tablename = 'people' ORDER BY 1
SELECT conname, contype FROM pg_constraint WHERE conrelid = 'orders'::regclass ORDER BY 1
SELECT has_table_privilege('people', 'SELECT')
SELECT current_user, session_user
SELECT obj_description('people'::regclass)
SELECT nspname FROM pg_namespace WHERE nspname = 'public'
SHOW server_encoding
SHOW standard_conforming_strings
SHOW TimeZone
SHOW search_path
SHOW transaction_isolation
-- changes
INSERT INTO people (id, name) VALUES (10, 'New')
INSERT INTO people (id, name, email) VALUES (11, 'More', 'more@example.com'), (12, 'Most', NULL)
INSERT INTO people (id, name) VALUES (13, 'Ret') RETURNING id, name, mood, active
INSERT INTO orders (person, total) VALUES (10, 5) RETURNING id, note, placed
INSERT INTO orders (person, total) SELECT id, 1.11 FROM people WHERE id > 10
INSERT INTO people (id, name) VALUES (10, 'Again') ON CONFLICT DO NOTHING
INSERT INTO people (id, name) VALUES (10, 'Again') ON CONFLICT (id) DO UPDATE SET name = excluded.name || '!' RETURNING name
INSERT INTO people DEFAULT VALUES
UPDATE people SET score = 1 WHERE id = 10
UPDATE people SET score = score + 1, name = upper(name) WHERE id IN (10, 11) RETURNING id, score, name
UPDATE people SET tags = tags || '{z}'::text[] WHERE id = 1 RETURNING tags
UPDATE people SET extra = extra || '{"n": 1}' WHERE id = 2 RETURNING extra
UPDATE orders SET total = total * 1.1 FROM people WHERE people.id = orders.person AND people.id = 1
UPDATE people SET (name, score) = ('Tuple', 3) WHERE id = 12
UPDATE people SET name = DEFAULT WHERE id = 12
UPDATE people SET mood = 'sad' WHERE false
DELETE FROM orders WHERE person > 9
DELETE FROM people USING orders WHERE people.id = orders.person AND people.id > 9
DELETE FROM people WHERE id = 13 RETURNING *
WITH gone AS (DELETE FROM people WHERE id = 12 RETURNING id) SELECT * FROM gone
WITH made AS (INSERT INTO people (id, name) VALUES (20, 'CTE') RETURNING id) SELECT id + 1 FROM made
MERGE INTO people p USING (VALUES (20, 'Merged'), (21, 'Fresh')) AS v(id, name) ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)
SELECT id, name FROM people WHERE id >= 20 ORDER BY id
DELETE FROM people WHERE id >= 10
SELECT id FROM people WHERE id = 1 FOR UPDATE
SELECT id FROM people WHERE id = 1 FOR SHARE NOWAIT
SELECT id FROM people ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1
TRUNCATE parted_2024
INSERT INTO parted VALUES (3, '2024-06-06') RETURNING tableoid::regclass
INSERT INTO parted VALUES (4, '1999-01-01')
-- definitions
CREATE TABLE made (id int PRIMARY KEY, t text DEFAULT 'x')
CREATE TABLE made (id int)
CREATE TABLE IF NOT EXISTS made (id int)
ALTER TABLE made ADD COLUMN n int DEFAULT 7
INSERT INTO made (id) VALUES (1) RETURNING *
ALTER TABLE made RENAME COLUMN n TO m
SELECT m FROM made
ALTER TABLE made ALTER COLUMN m TYPE bigint
CREATE INDEX made_t ON made (t)
CREATE UNIQUE INDEX ON made (m)
CREATE VIEW made_view AS SELECT id FROM made
SELECT * FROM made_view
CREATE OR REPLACE VIEW made_view AS SELECT id FROM made WHERE id > 0
DROP VIEW made_view
COMMENT ON TABLE made IS 'a table'
SELECT obj_description('made'::regclass)
CREATE TABLE copy_of AS SELECT * FROM made
SELECT * INTO copy_two FROM made
SELECT * FROM copy_two
CREATE TEMP TABLE scratch (n int)
INSERT INTO scratch SELECT generate_series(1, 3)
SELECT sum(n) FROM scratch
CREATE TYPE color AS ENUM ('red', 'green')
SELECT 'red'::color
ALTER TYPE color ADD VALUE 'blue'
CREATE FUNCTION two() RETURNS int LANGUAGE sql AS 'SELECT 2'
SELECT two()
CREATE SCHEMA side
CREATE TABLE side.things (id int)
SELECT * FROM side.things
DROP SCHEMA side CASCADE
DROP FUNCTION two()
DROP TYPE color
DROP TABLE copy_of, copy_two
DROP TABLE made
DROP TABLE IF EXISTS made
DROP TABLE made
CREATE SEQUENCE s2
SELECT nextval('s2')
DROP SEQUENCE s2
REFRESH MATERIALIZED VIEW totals
ANALYZE people
GRANT SELECT ON people TO PUBLIC
REVOKE INSERT ON secrets FROM PUBLIC
DO $$ BEGIN RAISE NOTICE 'from do'; END $$
CALL bump(41)
EXPLAIN (COSTS off) SELECT 1
EXPLAIN (COSTS off) SELECT * FROM people WHERE id = 1
EXPLAIN (COSTS off, FORMAT json) SELECT 1
-- session and transactions, one message each
BEGIN
SELECT 1
COMMIT
BEGIN; SELECT 1; SELECT 2; COMMIT
BEGIN; INSERT INTO people (id, name) VALUES (30, 'Gone'); ROLLBACK
SELECT count(*) FROM people WHERE id = 30
BEGIN; SAVEPOINT a; INSERT INTO people (id, name) VALUES (31, 'x'); ROLLBACK TO a; RELEASE a; COMMIT
SELECT 1; SELECT 2
SELECT 1; SELECT 1/0; SELECT 3
BEGIN; SELECT 1/0
ROLLBACK
ROLLBACK
COMMIT
START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT 1; COMMIT
BEGIN READ ONLY; INSERT INTO people (id, name) VALUES (32, 'x')
ROLLBACK
SET statement_timeout = '30s'
SHOW statement_timeout
RESET statement_timeout
SET LOCAL work_mem = '8MB'
SET TIME ZONE 'Europe/Berlin'
SELECT timestamptz '2024-06-01 12:00:00+00'
SET TIME ZONE 'UTC'
SET extra_float_digits = 0
SELECT 0.1::float8 + 0.2::float8
RESET extra_float_digits
SET DateStyle = 'German'
SELECT date '2024-02-01'
SET DateStyle = 'ISO, MDY'
SELECT set_config('myapp.user', 'ann', false)
SELECT current_setting('myapp.user')
PREPARE p1 (int) AS SELECT $1 + 1
EXECUTE p1(1)
EXECUTE p1('2')
DEALLOCATE p1
EXECUTE p1(1)
DEALLOCATE ALL
BEGIN; DECLARE c CURSOR FOR SELECT id FROM people ORDER BY id; FETCH 2 FROM c; MOVE 1 FROM c; FETCH ALL FROM c; CLOSE c; COMMIT
BEGIN; DECLARE c SCROLL CURSOR FOR SELECT id FROM people ORDER BY id; FETCH LAST FROM c; FETCH PRIOR FROM c; FETCH FIRST FROM c; ROLLBACK
FETCH 1 FROM nowhere
LISTEN news
NOTIFY news, 'hello'
UNLISTEN *
LOCK TABLE people
BEGIN; LOCK TABLE people IN SHARE MODE; COMMIT
DISCARD PLANS
CLOSE ALL
-- errors
SELEC 1
SELECT * FROM nowhere
SELECT nothing FROM people
SELECT 1/0
SELECT 'x'::int
SELECT '2024-13-01'::date
SELECT nofunction(1)
SELECT 1 + 'a'
SELECT 'angry'::mood
SELECT -1::positive
SELECT (-1)::positive
INSERT INTO people (id, name) VALUES (1, 'dup')
INSERT INTO people (id, name) VALUES (40, NULL)
INSERT INTO people (id, name, email) VALUES (41, 'x', 'ada@example.com')
INSERT INTO orders (person, total) VALUES (999, 1)
INSERT INTO orders (person, total) VALUES (1, -1)
INSERT INTO orders (person, total, note) VALUES (1, 1, 'much too long for twenty characters')
INSERT INTO people VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
UPDATE people SET id = 2 WHERE id = 1
DELETE FROM people WHERE id = 1
SELECT * FROM people GROUP BY mood
SELECT name, count(*) FROM people
SELECT id FROM people UNION SELECT name FROM people
SELECT * FROM people WHERE id = (SELECT id FROM people)
SELECT 9999999999::int
SELECT 1::numeric(2,2) * 100
SELECT 'a'::char(1) || 1/0
SELECT substring('abc', 1, -1)
SELECT repeat('x', -1), chr(0)
SELECT array_fill(0, ARRAY[-1])
SELECT to_date('xx', 'YYYY')
SELECT '{"a":'::json
SELECT jsonb_path_query('{}', 'bad path')
SELECT 'abc' ~ '('
SELECT lower(1, 2)
SELECT DISTINCT name FROM people ORDER BY id
SELECT currval('s_none')
CREATE TABLE people (id int)
ALTER TABLE people ADD COLUMN id int
DROP TABLE people
CREATE VIEW v AS SELECT * FROM nowhere
SELECT $1
SELECT * FROM people ORDER BY 99
SELECT sum(sum(total)) FROM orders
SELECT rank() FROM people
SELECT 1 LIMIT -1
SELECT 1 OFFSET -1
TRUNCATE people
SELECT 'unterminated
SELECT "unterminated
SELECT (1
SELECT 1 FROM
