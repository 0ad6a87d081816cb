"""What clients ask of the catalogue by themselves is neither refused nor masked while column masks are in force."""

import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from gateway_kernel.parse import NO_MASK
from tests.masking.canaries import World

if TYPE_CHECKING:
    from tests.support.postgres import Postgres

COMMANDS = (
    r"\d", r"\d customers", r"\d+ customers", r"\d contacts", r"\d vaults", r"\dt+", r"\dv", r"\dn+", r"\df", r"\du", r"\l", r"\dp", r"\di+",
    r"\dT", r"\ds", r"\dx", r"\dconfig", r"\sf leak", r"\drds", r"\dm+", r"\dP", r"\dX", r"\do", r"\dC", r"\db", r"\dg",
)  # fmt: skip

ASYNCPG_TYPES = """
WITH RECURSIVE typeinfo_tree(oid, ns, name, kind, basetype, elemtype, elemdelim, range_subtype, attrtypoids, attrnames, depth) AS (
    SELECT t.oid, ns.nspname, t.typname, t.typtype, t.typbasetype, t.typelem, ','::"char", NULL::oid,
        (SELECT array_agg(ia.atttypid ORDER BY ia.attnum) FROM pg_attribute ia JOIN pg_class c ON ia.attrelid = c.oid
         WHERE ia.attnum > 0 AND NOT ia.attisdropped AND c.reltype = t.oid),
        NULL::text[], 0
    FROM pg_catalog.pg_type t INNER JOIN pg_catalog.pg_namespace ns ON ns.oid = t.typnamespace WHERE t.oid = any($1::oid[])
    UNION ALL
    SELECT t.oid, tt.ns, t.typname, t.typtype, t.typbasetype, t.typelem, ','::"char", NULL::oid, NULL::oid[], NULL::text[], tt.depth + 1
    FROM pg_catalog.pg_type t, typeinfo_tree tt WHERE t.oid = tt.elemtype OR t.oid = any(tt.attrtypoids)
) SELECT DISTINCT *, basetype::regtype::text AS basetype_name FROM typeinfo_tree ORDER BY depth DESC
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_psql_describes_what_is_masked(postgres: "Postgres", world: World, command: str):
    """Each query behind a backslash command of psql is left alone, on masked tables too."""
    database = world.connection.info.dbname
    asked = subprocess.run(
        ["psql", "-X", "-E", "-A", "-t", "-c", command, postgres.url(database)],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    queries = re.findall(r"^\*+ QUERY \*+\n(.*?)\n\*{10,}$", asked.stdout, re.MULTILINE | re.DOTALL)
    assert queries, asked.stderr
    for query in queries:
        decided = world.plan(query)
        assert not decided.refusal, (query, decided.refusal)
        assert decided is NO_MASK, query


def test_a_driver_looks_types_up(world: World):
    """asyncpg's recursive query over the types, as it sends it."""
    assert world.plan(ASYNCPG_TYPES) is NO_MASK
