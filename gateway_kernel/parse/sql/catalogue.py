"""What the gate must know of a PostgreSQL catalogue: the questions, the answers, and their JSON form.

A text names relations, functions, operators and types; what those do (a view's query, a trigger, a cast) stands in the
server's catalogue. The edge asks the questions on the session's own connection, and the answers travel with the operation as
`context["catalogue"]`, so that edge and control plane read the same facts from the same operation. Nothing is asked here, and nothing is
decided: see `effects`. Names in answers are what the server resolved under the session's own search path.
"""

import re
from typing import Literal, Self

import msgspec

from gateway_kernel.model import Json

QuestionKind = Literal["relation", "function", "operator", "type"]
KINDS: tuple[QuestionKind, ...] = ("relation", "function", "operator", "type")

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*\Z")
_OPERATOR = re.compile(r"[+\-*/<>=~!@#%^&|`?]+\Z")


def quoted(name: str) -> str:
    """Return one part of a name, quoted where it would not read back as itself."""
    if _PLAIN.match(name) or _OPERATOR.match(name):
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """Return `schema.name`, or `name` where `schema` is ""; each part quoted where needed."""
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)


class Question(msgspec.Struct, frozen=True):
    """What is meant by this name, as written: `schema` is "" where the text gives none."""

    kind: QuestionKind
    schema: str
    name: str

    @property
    def key(self) -> str:
        """The key of its answer in the JSON form, within its kind."""
        return qualified(self.schema, self.name)


class Callable(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function, or what stands behind an operator, a cast, a trigger or a type.

    `arguments` counts the input arguments, `defaults` those that may be left out; `row` is true if its only argument may be a whole row
    (then `t.name` calls it). `builtin` means the server came with it, `extension` names the extension that owns it and whose own C library
    holds its code.
    """

    schema: str
    name: str
    arguments: int = 0
    defaults: int = 0
    variadic: bool = False
    row: bool = False
    builtin: bool = False
    extension: str = ""

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One column. `type` is the qualified type name and "" for a builtin one; `generated` is "s" (stored) or "v" (virtual)."""

    name: str
    number: int
    type: str = ""
    default: str = ""
    generated: Literal["", "s", "v"] = ""


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """A trigger of this relation or of a partition or child of it. `events` holds of `i`, `u`, `d`, `t` those that fire it."""

    name: str
    events: str
    function: Callable
    text: str = ""


class Rule(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rewrite rule other than a view's own: `event` is one of `r`, `i`, `u`, `d`; `text` its CREATE RULE."""

    name: str
    event: str
    text: str


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A foreign key elsewhere that points here. Actions as in pg_constraint: a, r, c (cascade), n (set null), d (set default)."""

    name: str
    schema: str
    table: str
    on_delete: str = "a"
    on_update: str = "a"


class Relation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A table, view, sequence and so on; `kind` is pg_class.relkind, `definition` the query of a view or materialised view.

    `checks`, `indexes` (expressions and predicates, and partition keys), `generated`, `triggers`, `references` and `foreign` are of
    the relation and of all that inherits from it; `policies` are its row security expressions. `children` and `parents` are all
    descendants and ancestors, qualified. `builtin` means the server came with it.
    """

    oid: int
    schema: str
    name: str
    kind: str
    builtin: bool = False
    temporary: bool = False
    definition: str = ""
    columns: tuple[Column, ...] = ()
    rules: tuple[Rule, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    checks: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    generated: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()
    children: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)

    @property
    def is_view(self) -> bool:
        return self.kind == "v"


class Type(msgspec.Struct, frozen=True, omit_defaults=True):
    """A type; of an array its element type. `kind` is pg_type.typtype, `relation` a row type's relation (qualified).

    `callables` may run when a value of a user's own base or range type is read, written or compared, and when one of its casts is
    used; `base` is a domain's base or a range's subtype, `fields` a composite's field types: qualified, builtin ones left out.
    """

    schema: str
    name: str
    kind: str
    builtin: bool = False
    relation: str = ""
    base: str = ""
    fields: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    callables: tuple[Callable, ...] = ()

    @property
    def label(self) -> str:
        return qualified(self.schema, self.name)


type Answer = Relation | Type | tuple[Callable, ...] | None
"""None means that there is no such relation or type. Functions and operators are answered with every candidate."""

_SHAPES: dict[str, object] = {
    "relation": Relation | None,
    "type": Type | None,
    "function": tuple[Callable, ...],
    "operator": tuple[Callable, ...],
}


class Unanswered(msgspec.Struct, frozen=True):
    """The question has not been answered yet, which differs from "there is none"."""


UNANSWERED = Unanswered()


class Catalogue:
    """The answers at hand. Reads the JSON form lazily; malformed JSON raises `msgspec.ValidationError` when it is used."""

    __slots__ = ("_labels", "_read", "document")

    def __init__(self, document: dict[str, Json] | None = None) -> None:
        self.document: dict[str, Json] = document if document is not None else {}
        self._read: dict[Question, Answer] = {}
        self._labels: dict[str, Json] | None = None

    def answer(self, question: Question) -> Answer | Unanswered:
        """Return what is known, or `UNANSWERED`. A relation that is known under one name is also known under its full name."""
        if question in self._read:
            return self._read[question]
        section = self.document.get(question.kind)
        raw: Json = UNANSWERED
        if isinstance(section, dict):
            raw = section.get(question.key, UNANSWERED)
        if raw is UNANSWERED and question.kind == "relation" and question.schema:
            raw = self._by_label().get(question.key, UNANSWERED)
        if raw is UNANSWERED:
            return UNANSWERED
        read = _converted(question.kind, raw)
        self._read[question] = read
        return read

    def _by_label(self) -> dict[str, Json]:
        if self._labels is None:
            relations = self.document.get("relation")
            answers = relations.values() if isinstance(relations, dict) else ()
            found = [answer for answer in answers if isinstance(answer, dict)]
            self._labels = {qualified(str(answer.get("schema")), str(answer.get("name"))): answer for answer in found}
        return self._labels

    def relation(self, schema: str, name: str) -> Relation | Unanswered | None:
        """Return the relation that this name means."""
        answer = self.answer(Question("relation", schema, name))
        assert answer is None or isinstance(answer, Relation | Unanswered)
        return answer

    def type(self, schema: str, name: str) -> Type | Unanswered | None:
        """Return the type that this name means."""
        answer = self.answer(Question("type", schema, name))
        assert answer is None or isinstance(answer, Type | Unanswered)
        return answer

    def candidates(
        self, kind: Literal["function", "operator"], schema: str, name: str
    ) -> tuple[Callable, ...] | Unanswered:
        """Return every function, or every operator that the server did not come with, that this name might mean."""
        answer = self.answer(Question(kind, schema, name))
        assert isinstance(answer, tuple | Unanswered)
        return answer

    def knowing(self, question: Question, answer: Json) -> Self:
        """Return a catalogue that also knows this answer, given in JSON form. Raise `msgspec.ValidationError` if it is malformed."""
        _converted(question.kind, answer)
        document = {**self.document}
        document[question.kind] = {**document.get(question.kind, {}), question.key: answer}
        return type(self)(document)


def _converted(kind: str, answer: Json) -> Answer:
    return msgspec.convert(answer, _SHAPES[kind], strict=True)


def parse_name(text: str) -> tuple[str, str]:
    """Split a name as `qualified` wrote it into (schema, name); schema is "" where there is none."""
    parts: list[str] = re.findall(r'"(?:[^"]|"")*"|[^."]+', text)
    plain = [part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts]
    return ("", plain[0]) if len(plain) == 1 else (plain[0], plain[1])
