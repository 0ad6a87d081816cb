-- The database that the bypass corpus attacks: postgres.txt has one evasion a line, policy.yaml the rules it tries to get round.
-- Values that begin with CANARY must never reach a client under that policy. Runs on PostgreSQL 13 to 18, as a superuser.

CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    ssn text NOT NULL,
    card text NOT NULL CHECK (length(card) < 64),
    balance numeric NOT NULL DEFAULT 0,
    note text
);
CREATE INDEX customers_email_lower ON customers (lower(email));
INSERT INTO customers (id, name, email, ssn, card, balance) VALUES
    (1, 'Ada', 'CANARY-ada@example.com', 'CANARY-078-05-1120', 'CANARY-4111111111111111', 10),
    (2, 'Bob', 'CANARY-bob@example.com', 'CANARY-219-09-9999', 'CANARY-5500005555555559', 20),
    (3, 'Cyd', 'CANARY-cyd@example.com', 'CANARY-457-55-5462', 'CANARY-340000000000009', 30);

CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer REFERENCES customers (id) ON DELETE CASCADE,
    amount numeric NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'open'
);
INSERT INTO orders VALUES (1, 1, 5, 'open'), (2, 1, 7, 'paid'), (3, 2, 9, 'open');

CREATE TABLE products (id integer PRIMARY KEY, title text NOT NULL, price numeric NOT NULL DEFAULT 1);
INSERT INTO products VALUES (1, 'bolt', 2), (2, 'nut', 1), (3, 'gear', 9);

CREATE TABLE audit_log (id bigserial PRIMARY KEY, what text NOT NULL, at timestamptz NOT NULL DEFAULT now());
INSERT INTO audit_log (what) VALUES ('start');

CREATE SEQUENCE ticket;

-- functions: what runs behind a name
CREATE FUNCTION purge() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN 1; END $$;
CREATE FUNCTION quiet_purge() RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN purge(); END $$;
CREATE FUNCTION customer_email(integer) RETURNS text SECURITY DEFINER STABLE LANGUAGE sql AS
    'SELECT email FROM public.customers WHERE id = $1';
CREATE FUNCTION leak(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.email';
CREATE FUNCTION spend(products) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN 1; END $$;
CREATE FUNCTION initcap(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN 'x'; END $$;
CREATE FUNCTION checked(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN true; END $$;
CREATE FUNCTION add_up(integer, integer) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN $1; END $$;
CREATE AGGREGATE loud_sum (integer) (sfunc = add_up, stype = integer, initcond = '0');
CREATE PROCEDURE wipe() LANGUAGE sql AS 'DELETE FROM public.audit_log';

-- operators and casts
CREATE FUNCTION same(integer, integer) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN true; END $$;
CREATE OPERATOR === (leftarg = integer, rightarg = integer, function = same);
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE FUNCTION mood_level(mood) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN 1; END $$;
CREATE CAST (mood AS integer) WITH FUNCTION mood_level(mood);
CREATE DOMAIN checked_text AS text CHECK (checked(VALUE));
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b checked_text);
CREATE TABLE moods (id integer PRIMARY KEY, mood mood, grade positive);
INSERT INTO moods VALUES (1, 'calm', 1);

-- views
CREATE VIEW titles AS SELECT id, title FROM products;
CREATE VIEW contacts AS SELECT id, name, email FROM customers;
CREATE VIEW contacts_twice AS SELECT id AS number, email AS address FROM contacts;
CREATE VIEW cleaned AS SELECT id, purge() AS purged FROM products;
CREATE VIEW cleaned_twice AS SELECT * FROM cleaned;
CREATE VIEW cheap AS SELECT id, title, price FROM products WHERE price < 5;
CREATE MATERIALIZED VIEW mailing AS SELECT id, email FROM customers;
CREATE MATERIALIZED VIEW price_list AS SELECT id, price FROM products;

-- triggers and rules
CREATE FUNCTION on_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN NEW; END $$;
CREATE TABLE watched (id integer PRIMARY KEY, what text);
CREATE TRIGGER watched_write BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION on_write();
CREATE TABLE ruled (id integer PRIMARY KEY, what text);
INSERT INTO ruled VALUES (1, 'x');
CREATE RULE ruled_insert AS ON INSERT TO ruled DO ALSO DELETE FROM audit_log;
CREATE TABLE defaulted (id integer PRIMARY KEY, what integer DEFAULT purge());
CREATE TABLE indexed (id integer PRIMARY KEY, what text);
CREATE FUNCTION fold(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN pg_catalog.lower($1); END $$;
CREATE INDEX indexed_fold ON indexed (fold(what));
INSERT INTO indexed VALUES (1, 'X');

-- partitions and inheritance
CREATE TABLE events (id integer, at date, email text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events VALUES (1, '2025-05-05', 'CANARY-old@example.com'), (2, '2026-05-05', 'CANARY-new@example.com');

-- row security
CREATE TABLE documents (id integer PRIMARY KEY, owner text, body text);
INSERT INTO documents VALUES (1, 'ada', 'CANARY-document');
CREATE FUNCTION may_see(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM audit_log; RETURN true; END $$;
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY documents_owner ON documents USING (may_see(owner));

-- a second schema that shadows the first when it comes first in the search path
CREATE SCHEMA shadow;
CREATE VIEW shadow.products AS SELECT id, email AS title, 0::numeric AS price FROM public.customers;
CREATE FUNCTION shadow.upper(varchar) RETURNS text LANGUAGE sql AS 'SELECT email FROM public.customers LIMIT 1';

ANALYZE;
