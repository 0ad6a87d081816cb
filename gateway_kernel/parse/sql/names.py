"""What functions, operators, types and columns stand for: the part of an expansion that follows code.

`effects.Expansion` builds on it and follows relations. What cannot be followed is `execute`.
"""

from typing import Literal

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql.catalogue import (
    UNANSWERED,
    Callable,
    Catalogue,
    Question,
    Relation,
    Type,
    Unanswered,
    parse_name,
    qualified,
)
from gateway_kernel.parse.sql.functions import PURE, PURE_EXTENSIONS, SPECIAL
from gateway_kernel.parse.sql.syntax import Call, ColumnUse, Field, Walk

READ, WRITE, DELETE, EXECUTE, SESSION = (
    EffectKind.READ,
    EffectKind.WRITE,
    EffectKind.DELETE,
    EffectKind.EXECUTE,
    EffectKind.SESSION,
)


class Names:
    """Collects effects, and the questions that have no answer yet."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.effects: dict[Effect, None] = {}
        self.missing: dict[Question, None] = {}
        self.problems: list[str] = []
        self.reads: dict[str, None] = {}
        self.writes: dict[str, None] = {}
        self.columns: dict[str, None] = {}
        self.functions: dict[str, None] = {}
        self._catalogue = catalogue
        self._types: set[tuple[str, bool]] = set()

    def _expression(self, text: str, via: str, relation: Relation | None = None, *, constants: bool = False) -> None:
        raise NotImplementedError

    def _effect(self, kind: EffectKind, name: str, via: str) -> None:
        self.effects[Effect(kind, name, via)] = None

    def _relation(self, schema: str, name: str) -> Relation | Unanswered | None:
        answer = self._catalogue.relation(schema, name)
        if isinstance(answer, Unanswered):
            self.missing[Question("relation", schema, name)] = None
        return answer

    def _named(self, label: str) -> Relation | None:
        """A relation that an answer names."""
        answer = self._relation(*parse_name(label))
        return answer if isinstance(answer, Relation) else None

    def _touch(self, schema: str, name: str, effect: Effect, via: str) -> None:
        answer = self._relation(schema, name)
        if answer is UNANSWERED:
            return
        label = answer.label if isinstance(answer, Relation) else qualified(schema, name)
        self._effect(effect.kind, label, effect.via or via)
        if effect.kind in (WRITE, DELETE):
            self.writes[label] = None
        elif effect.kind is READ:
            self.reads[label] = None

    def _candidates(self, kind: Literal["function", "operator"], schema: str, name: str) -> tuple[Callable, ...] | None:
        answer = self._catalogue.candidates(kind, schema, name)
        if isinstance(answer, Unanswered):
            self.missing[Question(kind, schema, name)] = None
            return None
        return answer

    def _call(self, call: Call, walk: Walk, via: str) -> None:
        if call.schema == "pg_catalog":
            self._builtin(call.name, call, via)
            return
        candidates = self._candidates("function", call.schema, call.name)
        if candidates is None:
            return
        accepting = [candidate for candidate in candidates if _accepts(candidate, call.arguments)]
        for candidate in accepting:
            self._callable(candidate, call, via)
        if not accepting and not (call.arguments == 1 and self._is_cast_or_column(call, walk, via)):
            self.functions[qualified(call.schema, call.name)] = None
            self._effect(EXECUTE, qualified(call.schema, call.name), via)

    def _is_cast_or_column(self, call: Call, walk: Walk, via: str) -> bool:
        """`f(x)` may also be written for `x::f`, and for the column `x.f`."""
        answer = self._catalogue.type(call.schema, call.name)
        if isinstance(answer, Unanswered):
            self.missing[Question("type", call.schema, call.name)] = None
            return True
        if answer is not None:
            self._mention(call.schema, call.name, via, coerced=True)
            return True
        owners = [
            relation
            for relation in self._aliased(walk, "")
            if any(column.name == call.name for column in relation.columns)
        ]
        for relation in owners:
            self.columns[f"{relation.label}.{call.name}"] = None
        return bool(owners)

    def _callable(self, candidate: Callable, call: Call, via: str) -> None:
        self.functions[candidate.label] = None
        if candidate.builtin and candidate.schema == "pg_catalog":
            self._builtin(candidate.name, call, via)
        elif not (candidate.builtin or candidate.extension in PURE_EXTENSIONS):  # builtin: information_schema's own
            self._effect(EXECUTE, candidate.label, via)

    def _implicit(self, candidate: Callable, via: str) -> None:
        """What runs behind an operator, a cast or a type. An extension's own C code there computes: no extension's operator does else."""
        if candidate.extension:
            self.functions[candidate.label] = None
        elif not (candidate.builtin and candidate.name.endswith(_TYPE_FUNCTIONS)):
            self._callable(candidate, Call(candidate.schema, candidate.name), via)

    def _builtin(self, name: str, call: Call, via: str) -> None:
        self.functions["pg_catalog." + name] = None
        if name in PURE:
            return
        said = call.literals[0] if call.literals else None
        match SPECIAL.get(name):
            case "set":
                self._effect(SESSION, "set:" + (said.lower() if said else "?"), via)
            case "sequence write" | "sequence read" as what:
                kind = READ if what == "sequence read" else WRITE
                if said:
                    self._touch(*_folded(said), Effect(kind, via=via), via)
                else:
                    self._effect(kind, "", via or name)
            case "setting":
                self._effect(READ, "setting:" + (said.lower() if said else "?"), via)
            case "channel":
                self._effect(WRITE, "channel:" + (said or "?"), via)
            case "session":
                self._effect(SESSION, name, via)
            case _:
                self._effect(EXECUTE, "pg_catalog." + name, via)

    def _operate(self, schema: str, name: str, via: str) -> None:
        if schema == "pg_catalog":
            return
        for candidate in self._candidates("operator", schema, name) or ():
            self._implicit(candidate, via or f"operator {name}")

    def _mention(self, schema: str, name: str, via: str, *, coerced: bool) -> None:
        """A value of this type is handled; if `coerced`, made as well, which checks a domain's constraints."""
        if schema == "pg_catalog":
            return
        answer = self._catalogue.type(schema, name)
        if isinstance(answer, Unanswered):
            self.missing[Question("type", schema, name)] = None
            return
        if answer is None or answer.builtin or (answer.label, coerced) in self._types:
            return
        self._types.add((answer.label, coerced))
        self._type(answer, via, coerced=coerced)

    def _type(self, kind: Type, via: str, *, coerced: bool) -> None:
        origin = f"type {kind.label}"
        for candidate in kind.callables:
            self._implicit(candidate, via or origin)
        if coerced:
            for check in kind.checks:
                self._expression(check, origin)
        for label in (kind.base, *kind.fields):
            if label:
                self._mention(*parse_name(label), via, coerced=coerced)

    def _aliased(self, walk: Walk, qualifier: str) -> list[Relation]:
        """The relations behind a qualifier, or behind every one if it is ""."""
        names = (
            walk.aliases.get(qualifier, set())
            if qualifier
            else {name for group in walk.aliases.values() for name in group}
        )
        known = (self._catalogue.relation(*name) for name in sorted(names))
        return [relation for relation in known if isinstance(relation, Relation)]

    def _field(self, use: Field, walk: Walk, via: str) -> None:
        """`t.f` calls the function f(t) if t has no column f."""
        named = walk.aliases.get(use.qualifier, set())
        if use.qualifier and named and use.qualifier not in walk.derived:
            relations = self._aliased(walk, use.qualifier)
            if len(relations) == len(named) and all(
                any(c.name == use.name for c in relation.columns) for relation in relations
            ):
                return
            if len(relations) < len(named) and any(self._catalogue.relation(*name) is UNANSWERED for name in named):
                return  # asked already; this is looked at again when it is known
        if use.name in _SYSTEM_COLUMNS:
            return
        for candidate in self._candidates("function", "", use.name) or ():
            if candidate.row:
                self._callable(candidate, Call("", use.name, 1), via)

    def _column(self, use: ColumnUse, walk: Walk) -> None:
        relations = self._aliased(walk, use.qualifier)
        whole = use.name == "*" or (not use.qualifier and use.name in walk.aliases)
        for relation in relations:
            for column in relation.columns:
                if column.name == use.name or whole:
                    self.columns[f"{relation.label}.{column.name}"] = None


_TYPE_FUNCTIONS = ("in", "out", "recv", "send", "_subdiff", "_canonical")
"""How the server's own input, output and range functions are called; none is in `functions.PURE`, since nobody calls them by name."""

_SYSTEM_COLUMNS = frozenset(("ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"))


def _accepts(candidate: Callable, arguments: int) -> bool:
    """True if the function can be called with so many arguments; -1 means that the number is not what is written."""
    if arguments < 0:
        return True
    least = candidate.arguments - candidate.defaults
    return least - (1 if candidate.variadic else 0) <= arguments and (
        candidate.variadic or arguments <= candidate.arguments
    )


def _folded(text: str) -> tuple[str, str]:
    """A relation's name as it stands in a string: regclass folds what is not quoted."""
    return parse_name(text.strip() if '"' in text else text.strip().lower())
