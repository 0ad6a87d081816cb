"""What the columns of a relation carry: by name, through a view's definition, through generated columns.

Definitions are traced as their owner wrote them: what they filter by is the owner's choice, what they compute from a masked column is
hidden whole, and a definition that cannot be traced is hidden whole as well.
"""

from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.catalogue import Catalogue, Relation, Unanswered
from gateway_kernel.parse.sql.expressions import ExpressionTracer
from gateway_kernel.parse.sql.scope import Item, Scope
from gateway_kernel.parse.sql.taint import STATISTICS, Field, Fields, Masks, UnresolvedError, UntraceableError, joined
from gateway_kernel.parse.sql.tree import UnparsedError, parsed


class RelationTracer(ExpressionTracer):
    """Traces relations of one operation; keeps what it learned of each."""

    def __init__(self, catalogue: Catalogue, masks: Masks) -> None:
        super().__init__(catalogue, masks)
        self._relations: dict[tuple[str, str], Fields | None] = {}

    def relation(self, name: pg.RangeVar) -> Relation | None:
        """Return the relation that a name means; None if the server knows none."""
        answer = self.catalogue.relation(name.schemaname, name.relname)
        if isinstance(answer, Unanswered):
            raise UntraceableError(f"the catalogue does not say what relation {name.relname} is")
        return answer

    def columns(self, relation: Relation) -> Fields:
        """Return the columns of a relation with what masks them, by name or through its definition."""
        key = (relation.schema, relation.name)
        known = self._relations.get(key)
        if known is None:
            if key in self._relations:
                raise UntraceableError(f"view {relation.name} refers to itself")
            self._relations[key] = None
            known = self._relations[key] = self._derived(relation)
        if _keeps_content(relation):
            self.sensitive = True
            self.forbid(
                self.masks.content(f"the content of {relation.name}"), "a relation of the server that copies others"
            )
        if any(field.taint is not None for field in known):
            self.sensitive = True
        return known

    def _derived(self, relation: Relation) -> Fields:
        if _keeps_content(relation):
            content = self.masks.content(f"the content of {relation.name}")
            return tuple(Field(column.name, content) for column in relation.columns)
        own = tuple(Field(column.name, self.masks.column(relation, column.name)) for column in relation.columns)
        if relation.kind in {"v", "m"} and not relation.builtin:
            return self._through_view(relation, own)
        if any(column.generated for column in relation.columns):
            return self._through_generated(relation, own)
        return own

    def _through_view(self, relation: Relation, own: Fields) -> Fields:
        traced = self._owned(relation.definition, None)
        if traced is None or len(traced) != len(own) or any(field.many for field in traced):
            content = self.masks.content(f"{relation.name}, whose definition cannot be traced")
            return tuple(Field(field.name, joined((field.taint, content))) for field in own)
        return tuple(
            Field(mine.name, joined((mine.taint, inner.taint)), row=inner.row)
            for mine, inner in zip(own, traced, strict=True)
        )

    def _through_generated(self, relation: Relation, own: Fields) -> Fields:
        scope = Scope(None, [Item(relation.name, own, relation=relation)])
        fields: list[Field] = []
        for column, field in zip(relation.columns, own, strict=True):
            taint = field.taint
            if column.generated:
                traced = self._owned(f"SELECT ({column.default or 'NULL'})", scope)
                computed = self.masks.content(f"{relation.name}.{column.name}") if traced is None else traced[0].taint
                taint = joined((taint, None if computed is None else computed.whole()))
            fields.append(Field(column.name, taint))
        return tuple(fields)

    def _owned(self, text: str, scope: Scope | None) -> Fields | None:
        """Trace a query that the owner of the database wrote; None if it cannot be."""
        owning, self.owning = self.owning, True
        try:
            return self.query(parsed(text.rstrip("; \n")).stmts[0].stmt, scope)
        except (UnresolvedError, UntraceableError, UnparsedError, IndexError):
            return None
        finally:
            self.owning = owning


def _keeps_content(relation: Relation) -> bool:
    """True for statistics, large objects and TOAST: they copy what stands in other relations."""
    return (relation.builtin and relation.name in STATISTICS) or relation.kind == "t"
