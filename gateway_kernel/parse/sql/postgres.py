"""The reader of PostgreSQL: facts of a text by the server's own grammar, and the catalogue it came with.

skeleton
"""

import msgspec

from gateway_kernel.model import Operation, Parameter
from gateway_kernel.parse import MaskPlan
from gateway_kernel.parse.sql import declared, lineage, parameters, rewriting
from gateway_kernel.verdict import ColumnMask, Rewrite


class PostgresReader:
    """Reads, rewrites and plans masks for PostgreSQL operations."""

    protocol = "postgres"

    def read(self, operation: Operation) -> Operation:
        """Return `operation` with its facts."""
        return msgspec.structs.replace(operation)

    def rewrite(self, operation: Operation, rewrite: Rewrite) -> Operation:
        """Return the changed operation, with facts derived again."""
        return rewriting.rewrite(operation, rewrite, self.read)

    def mask(self, operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
        """Return what these column masks mean for `operation`."""
        return lineage.plan(operation, masks)

    def declare(self, operation: Operation, tables: dict[str, tuple[str, ...]]) -> Operation:
        """Return `operation`, read, as if the server had just these tables."""
        return self.read(declared.answered(operation, tables))

    def parameter_text(self, parameter: Parameter) -> str | None:
        """Return a bound value as the server would print it."""
        return parameters.text_of(parameter)


READER = PostgresReader()
