"""`then: mask`: parts of the response are hidden, by the column they come from or by what they look like."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from gateway_kernel.masking import detectors
from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.policy.shape import nearest
from gateway_kernel.verdict import ColumnMask, DetectMask, Filter, Strategy

_COLUMN = re.compile(r"(\*|[^.*\s]+)(\.(\*|[^.*\s]+)){1,7}\Z")
Binary = Literal["withhold", "pass"]
Names = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class MaskSettings(msgspec.Struct, frozen=True):
    """Either `columns` (with the `filter` for their use in conditions) or `detect`; `with` is the strategy.

    `binary` says what becomes of a response that is no text, in which nothing can be looked for.
    """

    strategy: Strategy | None = msgspec.field(name="with")  # an unquoted `null` is YAML's own null
    columns: Names | None = None
    detect: Names | None = None
    filter: Filter | None = None
    binary: Binary = "withhold"


class Mask:
    """Adds masks, whatever the decision."""

    name = "mask"
    settings = Annotated[tuple[MaskSettings, ...], msgspec.Meta(min_length=1)]

    def check(self, settings: tuple[MaskSettings, ...], groups: Groups) -> Iterator[Objection]:
        for index, mask in enumerate(settings):
            if (mask.columns is None) == (mask.detect is None):
                yield Objection((index,), "a mask names either `columns` or `detect`")
            if mask.filter is not None and mask.columns is None:
                yield Objection((index, "filter"), "`filter` is about columns; detectors look at content only")
            yield from _columns(index, mask.columns or ())
            for position, name in enumerate(mask.detect or ()):
                if name not in detectors.NAMES:
                    hint = nearest(name, list(detectors.NAMES))
                    yield Objection((index, "detect", position), f"there is no detector {name!r}{hint}")

    def apply(self, rule: Statement, settings: tuple[MaskSettings, ...], draft: Draft) -> None:
        for mask in settings:
            strategy = mask.strategy or "null"
            draft.binary.append(mask.binary == "pass")
            if mask.columns is not None:
                draft.columns.append(ColumnMask(mask.columns, strategy, mask.filter or "deny", rule.rule))
            if mask.detect is not None:
                draft.detect.append(DetectMask(mask.detect, strategy, rule.rule))


def _columns(index: int, columns: tuple[str, ...]) -> Iterator[Objection]:
    for position, column in enumerate(columns):
        if not _COLUMN.match(column):
            what = f"{column!r} is not a column; write table.column, schema.table.column or the end of a JSON path, with * for any part"
            yield Objection((index, "columns", position), what)


ACTION = Mask()
