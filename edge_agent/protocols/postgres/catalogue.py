"""The catalogue questions as SQL: one query for each, which gives one row with one text column, the answer as JSON.

It runs on the session's own connection, in the client's own transaction, so it sees temporary tables and uncommitted definitions, and so it
must never fail by itself: names are looked up, never cast; every function and operator in it is qualified, so that no search path
changes what it means. It can still fail as any statement can (statement_timeout, lock_timeout, a definition dropped in between): that is
then the transaction's own error. It runs on PostgreSQL 13 to 18. Nothing is sent or remembered here: see `lookup`.
"""
# ruff: noqa: S608  (the queries are made of constants; the two names from outside go through _literal)

import re

from gateway_kernel.parse.sql.catalogue import Question


def _exact(sql: str) -> str:
    """Qualify what is written short: `pg.f(` is pg_catalog's, and so is every operator that has spaces around it."""
    sql = re.sub(r"\bpg\.", "pg_catalog.", sql)
    sql = re.sub(r"::(\w+)", r"::pg_catalog.\1", sql)
    sql = re.sub(r"(?<= )(=|<>|<|>=|<=|\|\||~|&|-|/|->>)(?= )", r"operator(pg_catalog.\1)", sql)
    return re.sub(r"\s+", " ", sql).strip()


def _label(schema: str, name: str) -> str:
    """SQL for a qualified name, in the form that `gateway_kernel.parse.sql.catalogue.qualified` gives it."""

    def part(column: str) -> str:
        quoted = f"""'"' || pg.replace({column}::text, '"', '""') || '"'"""
        return f"(case when {column}::text ~ '^[a-z_][a-z0-9_$]*$' then {column}::text else {quoted} end)"

    return f"({part(schema)} || '.' || {part(name)})"


# What initdb made has an oid below FirstNormalObjectId (access/transam.h). Language 12 is internal, 13 is C (pg_language.dat): only a
# superuser makes functions in them.
_BUILTIN = "{}.oid::int8 < 16384"
_CALLABLE = f"""
    pg.json_build_object(
        'schema', pn.nspname, 'name', p.proname, 'arguments', p.pronargs::int4, 'defaults', p.pronargdefaults::int4,
        'variadic', p.provariadic::int8 <> 0,
        'row', p.pronargs::int4 - p.pronargdefaults::int4 <= 1 and p.pronargs::int4 >= 1 and pg."exists_row",
        'builtin', {_BUILTIN.format("p")},
        'extension', coalesce((
            select e.extname::text from pg.pg_depend d join pg.pg_extension e on e.oid = d.refobjid
            where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
            and (p.prolang::int8 = 12 or p.prolang::int8 = 13) limit 1), '')
    )
""".replace(
    'pg."exists_row"',
    """exists (
            select from pg.pg_type a where a.oid = p.proargtypes[0] and (
                a.typtype = 'c' or a.typtype = 'p' or (a.typtype = 'd' and exists (
                    select from pg.pg_type b where b.oid = a.typbasetype and b.typtype = 'c'))))""",
)
_PROCEDURE = "pg.pg_proc p join pg.pg_namespace pn on pn.oid = p.pronamespace"

# The schemas in which a name is looked for, in order. Functions and operators are never looked for in the temporary schema, unless it is
# named (runtime configuration, search_path).
_PATH = """
    path(schema, place) as (
        select n.oid, s.place from pg.unnest(pg.current_schemas(true)) with ordinality as s(name, place)
        join pg.pg_namespace n on n.nspname = s.name where $1::text = '' {without_temporary}
        union all
        select n.oid, 1 from pg.pg_namespace n where $1::text <> ''
        and (n.nspname = $1::name or ($1::text = 'pg_temp' and n.oid = pg.pg_my_temp_schema()))
    )
"""
_PATH_ALL = _PATH.format(without_temporary="")
_PATH_CODE = _PATH.format(without_temporary="and n.oid <> pg.pg_my_temp_schema()")


def _user_type(oid: str) -> str:
    """SQL for the name of the type, or of its element type if it is an array; '' for what the server came with."""
    return f"""
        coalesce((
            select {_label("tn.nspname", "tt.typname")} from pg.pg_type ty
            join pg.pg_type tt on tt.oid = coalesce((select te.oid from pg.pg_type te where te.typarray = ty.oid), ty.oid)
            join pg.pg_namespace tn on tn.oid = tt.typnamespace
            where ty.oid = {oid} and ty.oid::int8 >= 16384 limit 1), '')
    """


def _list(item: str, source: str) -> str:
    """SQL for a JSON array of `item` over `source`, [] if there is none."""
    return f"coalesce((select pg.json_agg({item}) from {source}), '[]'::json)"


def _distinct(item: str, source: str) -> str:
    """SQL for a JSON array of the distinct texts that are not null."""
    return f"coalesce((select pg.json_agg(x.item) from (select distinct {item} as item from {source}) x where x.item is not null), '[]'::json)"


# pg_get_viewdef and pg_get_ruledef ask the server with plain operators (ruleutils.c, "ev_class = $1 AND rulename = $2"), so somebody's own
# = on oid or name, in front of pg_catalog, would answer in its place. Where there is one, no text is given, and the operation is refused.
UNREADABLE = "definition not readable: an operator of the search path could forge it"
_FORGEABLE = """
    exists (
        select from pg.pg_operator o join pg.pg_namespace n on n.oid = o.oprnamespace
        where o.oprname = '=' and o.oid::int8 >= 16384 and n.nspname = any (pg.current_schemas(true))
        and (o.oprleft = 'pg_catalog.oid'::regtype or o.oprleft = 'pg_catalog.name'::regtype))
"""


def _readable(text: str) -> str:
    return f"(case when {_FORGEABLE} then '{UNREADABLE}' else {text} end)"


_FAMILY = "(select f.member from family f)"

_RELATION = _exact(f"""
    with recursive {_PATH_ALL},
    target as (
        select c.*, n.nspname from pg.pg_class c join path on path.schema = c.relnamespace join pg.pg_namespace n on n.oid = c.relnamespace
        where c.relname = $2::name order by path.place limit 1
    ),
    family(member) as (
        select t.oid from target t
        union select i.inhrelid from pg.pg_inherits i join family on i.inhparent = family.member
    ),
    ancestors(member) as (
        select i.inhparent from pg.pg_inherits i join target t on i.inhrelid = t.oid
        union select i.inhparent from pg.pg_inherits i join ancestors on i.inhrelid = ancestors.member
    )
    select coalesce((select pg.json_build_object(
        'oid', t.oid::int8, 'schema', t.nspname, 'name', t.relname, 'kind', t.relkind::text, 'builtin', {
    _BUILTIN.format("t")
},
        'temporary', t.relpersistence = 't',
        'definition', case when (t.relkind = 'v' or t.relkind = 'm') and t.oid::int8 >= 16384
            then {_readable("coalesce(pg.pg_get_viewdef(t.oid), '')")} else '' end,
        'columns', coalesce((
            select pg.json_agg(pg.json_build_object(
                'name', a.attname, 'number', a.attnum::int4, 'type', {_user_type("a.atttypid")},
                'default', coalesce(pg.pg_get_expr(ad.adbin, ad.adrelid), ''), 'generated', a.attgenerated::text) order by a.attnum)
            from pg.pg_attribute a left join pg.pg_attrdef ad on ad.adrelid = a.attrelid and ad.adnum = a.attnum
            where a.attrelid = t.oid and a.attnum::int4 >= 1 and not a.attisdropped), '[]'::json),
        'rules', {
    _list(
        f'''pg.json_build_object('name', r.rulename, 'event', pg.substr('ruid', r.ev_type::text::int4, 1),
            'text', {_readable("pg.pg_get_ruledef(r.oid)")})''',
        "pg.pg_rewrite r where r.ev_class = t.oid and r.ev_type <> '1' and r.ev_enabled <> 'D' and t.oid::int8 >= 16384",
    )
},
        'triggers', {
    _list(
        f'''pg.json_build_object('name', g.tgname, 'text', pg.pg_get_triggerdef(g.oid), 'function', {_CALLABLE},
            'events', (case when (g.tgtype & 4::int2) <> 0::int2 then 'i' else '' end)
            || (case when (g.tgtype & 8::int2) <> 0::int2 then 'd' else '' end)
            || (case when (g.tgtype & 16::int2) <> 0::int2 then 'u' else '' end)
            || (case when (g.tgtype & 32::int2) <> 0::int2 then 't' else '' end))''',
        f'''pg.pg_trigger g join ({_PROCEDURE}) on p.oid = g.tgfoid
            where g.tgrelid = any {_FAMILY} and not g.tgisinternal and g.tgparentid::int8 = 0 and g.tgenabled <> 'D' ''',
    )
},
        'checks', {
    _distinct(
        "pg.pg_get_expr(k.conbin, k.conrelid)",
        f"pg.pg_constraint k where k.conrelid = any {_FAMILY} and k.contype = 'c'",
    )
},
        'indexes', {
    _distinct(
        "e.text",
        f'''(
            select pg.pg_get_expr(i.indexprs, i.indrelid) as text from pg.pg_index i where i.indrelid = any {_FAMILY}
            union all select pg.pg_get_expr(i.indpred, i.indrelid) from pg.pg_index i where i.indrelid = any {_FAMILY}
            union all select pg.pg_get_expr(q.partexprs, q.partrelid) from pg.pg_partitioned_table q where q.partrelid = any {_FAMILY}) e''',
    )
},
        'generated', {
    _distinct(
        "pg.pg_get_expr(ad.adbin, ad.adrelid)",
        f'''pg.pg_attrdef ad join pg.pg_attribute a on a.attrelid = ad.adrelid and a.attnum = ad.adnum
            where ad.adrelid = any {_FAMILY} and a.attgenerated <> '' ''',
    )
},
        'policies', {
    _distinct(
        "e.text",
        '''(
            select pg.pg_get_expr(l.polqual, l.polrelid) as text from pg.pg_policy l where l.polrelid = t.oid and t.relrowsecurity
            union all select pg.pg_get_expr(l.polwithcheck, l.polrelid) from pg.pg_policy l where l.polrelid = t.oid and t.relrowsecurity) e''',
    )
},
        'references', {
    _list(
        '''pg.json_build_object('name', k.conname, 'schema', kn.nspname, 'table', kc.relname,
            'on_delete', k.confdeltype::text, 'on_update', k.confupdtype::text)''',
        f'''pg.pg_constraint k join pg.pg_class kc on kc.oid = k.conrelid join pg.pg_namespace kn on kn.oid = kc.relnamespace
            where k.confrelid = any {_FAMILY} and k.contype = 'f' and k.conparentid::int8 = 0''',
    )
},
        'children', {
    _distinct(
        _label("fn.nspname", "fc.relname"),
        '''family f join pg.pg_class fc on fc.oid = f.member join pg.pg_namespace fn on fn.oid = fc.relnamespace where f.member <> t.oid''',
    )
},
        'parents', {
    _distinct(
        _label("fn.nspname", "fc.relname"),
        '''ancestors f join pg.pg_class fc on fc.oid = f.member join pg.pg_namespace fn on fn.oid = fc.relnamespace''',
    )
},
        'foreign', {
    _distinct(
        _label("fn.nspname", "fc.relname"),
        '''family f join pg.pg_class fc on fc.oid = f.member join pg.pg_namespace fn on fn.oid = fc.relnamespace where fc.relkind = 'f' ''',
    )
}
    )::text from target t), 'null')
""")

_FUNCTION = _exact(f"""
    with {_PATH_CODE}
    select {_list(_CALLABLE, f"{_PROCEDURE} join path on path.schema = p.pronamespace where p.proname = $2::name")}::text
""")

_OPERATOR_QUERY = _exact(f"""
    with {_PATH_CODE}
    select {
    _list(
        _CALLABLE,
        f'''{_PROCEDURE} where p.oid = any (
            select o.oprcode::oid from pg.pg_operator o join path on path.schema = o.oprnamespace
            where o.oprname = $2::name and o.oid::int8 >= 16384)''',
    )
}::text
""")

_TYPE = _exact(f"""
    with {_PATH_ALL},
    found as (
        select y.* from pg.pg_type y join path on path.schema = y.typnamespace where y.typname = $2::name order by path.place limit 1
    ),
    target as (
        select y.*, n.nspname from found join pg.pg_type y
        on y.oid = coalesce((select e.oid from pg.pg_type e where e.typarray = found.oid), found.oid)
        join pg.pg_namespace n on n.oid = y.typnamespace
    )
    select coalesce((select pg.json_build_object(
        'schema', t.nspname, 'name', t.typname, 'kind', t.typtype::text, 'builtin', {_BUILTIN.format("t")},
        'relation', coalesce((
            select {
    _label("rn.nspname", "rc.relname")
} from pg.pg_class rc join pg.pg_namespace rn on rn.oid = rc.relnamespace
            where rc.oid = t.typrelid and t.typtype = 'c'), ''),
        'base', case when t.typtype = 'd' then {_user_type("t.typbasetype")} else coalesce((
            select {_user_type("g.rngsubtype")} from pg.pg_range g
            where g.rngtypid = t.oid or (pg.to_jsonb(g) ->> 'rngmultitypid') = t.oid::text limit 1), '') end,
        'fields', {
    _distinct(
        f"({_user_type('a.atttypid')})",
        "pg.pg_attribute a where a.attrelid = t.typrelid and t.typtype = 'c' and not a.attisdropped",
    )
},
        'checks', {
    _distinct(
        "e.text",
        '''(
            select pg.regexp_replace(pg.pg_get_constraintdef(k.oid), '^CHECK (.*?)( NOT VALID)?$', '\\1') as text
            from pg.pg_constraint k where k.contypid = t.oid and k.contype = 'c'
            union all select t.typdefault where t.typtype = 'd' and t.typdefaultbin is not null) e''',
    )
},
        'callables', case when {_BUILTIN.format("t")} then '[]'::json else {
    _list(
        _CALLABLE,
        f'''{_PROCEDURE} where p.oid = any (
            select k.castfunc from pg.pg_cast k where (k.castsource = t.oid or k.casttarget = t.oid) and k.castfunc::int8 <> 0
            union all select f.code from (
                select pg.unnest(array[t.typinput::oid, t.typoutput::oid, t.typreceive::oid, t.typsend::oid,
                    t.typmodin::oid, t.typmodout::oid]) as code
            ) f where t.typtype = 'b'
            union all select f.code from pg.pg_range g, lateral (
                select pg.unnest(array[g.rngcanonical::oid, g.rngsubdiff::oid]) as code) f where g.rngtypid = t.oid)''',
    )
} end
    )::text from target t), 'null')
""")

_QUERIES = {"relation": _RELATION, "function": _FUNCTION, "operator": _OPERATOR_QUERY, "type": _TYPE}


def statement(question: Question) -> bytes:
    """Return the query for `question`, without parameters: the names stand in it as literals that mean the same under any setting."""
    names = {"$1": _literal(question.schema), "$2": _literal(question.name)}
    return re.sub(r"\$[12]", lambda found: names[found[0]], _QUERIES[question.kind]).encode()


def _literal(text: str) -> str:
    """An escape string: unlike a plain one it does not depend on standard_conforming_strings."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
