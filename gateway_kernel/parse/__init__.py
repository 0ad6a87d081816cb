"""Readers: each turns the text of one protocol into facts, from the real grammar of that language.

A reader is pure and total: what it cannot read gets an `unknown` effect, never an exception and never a guess. The registry
is an explicit tuple; adding a protocol is one line here.
"""

from typing import Protocol as Interface

import msgspec

from gateway_kernel.model import Json, Operation, Parameter
from gateway_kernel.verdict import ColumnMask, Rewrite, Strategy


class MaskPlan(msgspec.Struct, frozen=True):
    """What column masks mean for one operation.

    `refusal` is a sentence if the operation would use a masked column in a way that leaks it ("" if not), by rule `rule`.
    `sensitive` is true if anything masked is involved, so that errors and notices are reduced. `outputs` has one entry for
    each statement that returns rows: a strategy or None for each result column, or None where no origin could be resolved and all must
    be withheld.
    """

    refusal: str = ""
    rule: str = ""
    sensitive: bool = False
    outputs: tuple[tuple[Strategy | None, ...] | None, ...] = ()


NO_MASK = MaskPlan()


class Reader(Interface):
    """One language. Implementations keep their own bounded caches."""

    @property
    def protocol(self) -> str: ...

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that `Rewrite.parts` may name for this protocol, `kind.NAME` where a name follows."""
        ...

    def part_problem(self, name: str, value: str | None) -> str:
        """Return what is wrong with setting this part to this value (None: removing it) in any operation, "" if nothing is."""
        ...

    def asked(self, operation: Operation, field: str) -> Json:
        """Return a fact that is not kept with the others, now that a rule asks for it; raise `UnreadableFactError` if it cannot be told."""
        ...

    def read(self, operation: Operation) -> Operation:
        """Return `operation` with facts derived from its text, parameters and context."""
        ...

    def rewrite(self, operation: Operation, rewrite: Rewrite) -> Operation:
        """Return the changed operation, with facts derived again; raise `UnrewritableError` with the reason if it cannot be."""
        ...

    def mask(self, operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
        """Return what these column masks mean for `operation`."""
        ...

    def declare(self, operation: Operation, tables: dict[str, tuple[str, ...]]) -> Operation:
        """Return `operation`, read, as if a server had just these tables (name -> columns): for the tests of a policy."""
        ...

    def parameter_text(self, parameter: Parameter) -> str | None:
        """Return a bound value as the server would print it, "" for NULL, None where that cannot be told."""
        ...
