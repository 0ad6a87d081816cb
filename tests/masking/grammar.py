"""Random SELECTs over the canary tables: joins, subqueries, WITH, set operations, views, functions, rows, windows.

A `Grammar` draws from a seeded generator, so a failing statement can be drawn again. With `clean` it names only columns that are not
masked, and no `*` over a relation that has one.
"""

import random
from dataclasses import dataclass, field

TABLES = {
    "customers": ("id", "name", "region", "referrer", "email", "ssn", "label"),
    "orders": ("id", "customer_id", "item", "total", "region"),
    "vaults": ("id", "region", "secret"),
    "vaults_low": ("id", "region", "secret"),
    "people": ("id", "email"),
    "employees": ("id", "salary", "email"),
    "contacts": ("id", "region", "mail"),
    "nested": ("id", "item", "address"),
    "loud": ("id", "region", "shout"),
    "plain": ("id", "item", "name"),
    "kept": ("id", "region", "email"),
}
HIDDEN = {"email", "ssn", "label", "secret", "mail", "address", "shout"}
NUMBERS = {"id", "customer_id", "total", "referrer", "ssn", "salary"}
TEXTS = {"name", "region", "item"} | HIDDEN - {"ssn"}
FUNCTIONS = ("upper", "md5", "reverse", "length", "count", "min", "max", "to_jsonb", "row_to_json", "pg_typeof")


@dataclass
class Source:
    """One FROM item: its alias and the columns that can be named through it."""

    alias: str
    columns: list[str]


@dataclass
class Grammar:
    """Draws statements. `depth` bounds nesting; `names` numbers aliases."""

    random: random.Random
    clean: bool = False
    names: int = 0
    ctes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def statement(self) -> str:
        """A whole statement."""
        self.ctes = {}
        prefix = ""
        if self.chance(0.25):
            name = self.fresh("w")
            text, columns = self.select(2, [])
            if self.chance(0.5) and "SELECT *" not in text:
                columns = [self.fresh("k") for _ in columns]
                prefix = f"WITH {name}({', '.join(columns)}) AS ({text}) "
            else:
                prefix = f"WITH {name} AS ({text}) "
            self.ctes[name] = columns
        text, _ = self.select(2, [])
        return prefix + text

    def select(self, depth: int, outer: list[Source]) -> tuple[str, list[str]]:
        """A SELECT and the names of its columns ("" where nobody can name one)."""
        if depth and self.chance(0.2):
            width = self.random.choice([1, 1, 2])
            one, two = (self.plain(depth - 1, outer, width=width) for _ in range(2))
            operator = self.random.choice(["UNION ALL", "UNION ALL", "UNION ALL", "UNION", "EXCEPT"])
            return f"{one[0]} {operator} {two[0]}", one[1]
        return self.plain(depth, outer)

    def plain(self, depth: int, outer: list[Source], width: int | None = None) -> tuple[str, list[str]]:
        sources: list[Source] = []
        items = [self.item(depth, outer, sources) for _ in range(self.random.choice([1, 1, 2]))]
        scope = sources + (outer if self.chance(0.3) else [])
        targets: list[str] = []
        columns: list[str] = []
        for _ in range(width or self.random.randint(1, 3)):
            target, name = self.target(depth, sources, scope, only_one=width is not None)
            targets.append(target)
            columns += name
        if width is None and not self.clean and self.chance(0.12):
            targets, columns = ["*"], [column for source in sources for column in source.columns]
        text = f"SELECT {', '.join(targets)} FROM {', '.join(items)}"
        if self.chance(0.4):
            text += f" WHERE {self.condition(depth, scope)}"
        if width is None and self.chance(0.12):
            text += f" ORDER BY {self.random.choice([self.column(scope), '1', columns[0] or '1'])} LIMIT 2"
        return text, columns

    def target(
        self, depth: int, sources: list[Source], scope: list[Source], *, only_one: bool
    ) -> tuple[str, list[str]]:
        roll = self.random.random()
        source = self.random.choice(sources)
        if roll < 0.12 and not only_one and not self.clean:
            return f"{source.alias}.*", list(source.columns)
        if roll < 0.18 and not self.clean:
            name = self.fresh("r")
            return f"{source.alias} AS {name}", [name]
        if roll < 0.30:
            name = self.fresh("e")
            return f"{self.expression(depth, scope)} AS {name}", [name]
        column = self.column(sources, texts=only_one)
        if self.chance(0.4):
            name = self.fresh("c")
            return f"{column} AS {name}", [name]
        return column, [column.rpartition(".")[2]]

    def column(self, scope: list[Source], *, texts: bool = False) -> str:
        """Any column; with `texts`, one that the arms of a set operation can share."""
        source = self.random.choice(scope)
        columns = [name for name in source.columns if name and not (self.clean and name in HIDDEN)]
        columns = [name for name in columns if not texts or name in TEXTS] or columns
        if not columns:
            return "1"
        return f"{source.alias}.{self.random.choice(columns)}"

    def expression(self, depth: int, scope: list[Source]) -> str:
        column = self.column(scope)
        match self.random.randint(0, 9):
            case 0 | 1:
                return f"{self.random.choice(FUNCTIONS[:4])}({column}::text)"
            case 2:
                return f"coalesce({column}::text, 'none')"
            case 3:
                return f"CASE WHEN {self.condition(depth, scope)} THEN 1 ELSE 0 END"
            case 4:
                return f"{column} IS NOT NULL"
            case 5 if depth:
                text, _ = self.plain(0, scope, width=1)
                return f"(SELECT count(*) FROM ({text}) {self.fresh('n')})"
            case 6 if depth:
                text, _ = self.plain(0, scope, width=1)
                return f"EXISTS ({text})"
            case 7:
                return f"count(*) OVER (PARTITION BY {column})"
            case 8:
                return f"to_jsonb({column if self.clean else self.random.choice([column, scope[0].alias])})"
            case _:
                return "1 + 1"

    def condition(self, depth: int, scope: list[Source]) -> str:
        column = self.column(scope)
        match self.random.randint(0, 7):
            case 0:
                return f"{column} IS NOT NULL"
            case 1:
                return f"{column}::text > 'canary3'"
            case 2:
                return f"{column}::text LIKE '%3%'"
            case 3 if depth:
                text, _ = self.plain(0, scope, width=1)
                return f"{column}::text IN (SELECT x::text FROM ({text}) {self.fresh('i')}(x))"
            case 4 if depth:
                text, _ = self.plain(0, scope)
                return f"EXISTS ({text})"
            case 5:
                return f"({column}::text = 'name1' OR NOT {column} IS NULL)"
            case _:
                number = [c for s in scope for c in s.columns if c in NUMBERS and not (self.clean and c in HIDDEN)]
                owner = [s for s in scope if number and number[0] in s.columns]
                return f"{owner[0].alias}.{number[0]} < 4" if owner else "true"

    def item(self, depth: int, outer: list[Source], sources: list[Source]) -> str:
        """One FROM item; what it brings is added to `sources`."""
        roll = self.random.random()
        alias = self.fresh("t")
        if depth and roll < 0.2:
            lateral = self.chance(0.4)
            text, columns = self.select(depth - 1, [*sources, *outer] if lateral else outer)
            if text.startswith("SELECT * "):  # a join may have merged columns: only their own names are sure
                sources.append(Source(alias, list(dict.fromkeys(columns))))
                return f"{'LATERAL ' if lateral else ''}({text}) {alias}"
            if self.chance(0.5) or "" in columns or len(set(columns)) < len(columns):
                columns = [self.fresh("q") for _ in columns]
                sources.append(Source(alias, columns))
                return f"{'LATERAL ' if lateral else ''}({text}) {alias}({', '.join(columns)})"
            sources.append(Source(alias, columns))
            return f"{'LATERAL ' if lateral else ''}({text}) {alias}"
        if depth and roll < 0.4:
            return self.join(depth, outer, sources)
        if roll < 0.45:
            sources.append(Source(alias, [alias]))
            return f"generate_series(1, 2) {alias}"
        if self.ctes and roll < 0.6:
            name = self.random.choice(list(self.ctes))
            sources.append(Source(alias, self.ctes[name]))
            return f"{name} {alias}"
        table = self.random.choice(list(TABLES))
        columns = list(TABLES[table])
        if self.chance(0.15):
            sources.append(Source(table, columns))
            return table
        sources.append(Source(alias, columns))
        return f"{table} AS {alias}"

    def join(self, depth: int, outer: list[Source], sources: list[Source]) -> str:
        arms: list[Source] = []
        left = self.item(0, outer, arms)
        right = self.item(0, outer, arms)
        kind = self.random.choice(["", "LEFT ", "FULL ", "RIGHT "])
        one, two = arms[0], arms[-1]
        shared = [c for c in one.columns if c in two.columns and not (self.clean and c in HIDDEN)]
        sources += arms
        match self.random.randint(0, 4):
            case 0 | 4 if shared:
                name = self.random.choice(shared)
                return f"{left} {kind}JOIN {right} USING ({name})"
            case 1 if not self.clean:
                return f"{left} NATURAL {kind}JOIN {right}"
            case 2 if not kind:
                return f"{left} JOIN {right} ON {self.condition(0, arms)}"
            case _:
                return f"{left} {kind}JOIN {right} ON {one.alias}.{one.columns[0]} = {two.alias}.{two.columns[0]}"
