"""Texts that differ only in whole numbers whose value decides nothing: one of them is read, the facts hold for all.

Many clients write values into the text instead of binding them; parsing each anew would cost ten times what judging costs. Two texts share a
shape if they are equal after every number is replaced, and if every number stands where only its being a number matters: compared in
WHERE, inserted by VALUES, assigned by SET. A number anywhere else (LIMIT, ORDER BY 1, varchar(20), a function's argument) keeps the text to
itself. What was judged and is forwarded is always the text itself, never its shape.
"""

import re
from functools import lru_cache

from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.tree import UnparsedError, parsed

LONGEST = 8192
"""Characters of a text that may share a shape."""

MAX_SHAPES = 2048

# No quotes, dollar signs, backslashes, colons or slashes: in what is left, digits that touch no letter, digit or point are whole tokens
# (PostgreSQL documentation, section 4.1.2), and replacing them moves no other token.
_PLAIN = re.compile(r"[A-Za-z0-9_ ,.*=<>()+;\n\t-]*")
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])[0-9]{1,9}(?![A-Za-z0-9_.])")  # at most 999,999,999: always an int4


class Shapes:
    """The first text of each shape stands for the others."""

    __slots__ = ("_first",)

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def shape(self, text: str) -> str | None:
        """The shape of `text` if all texts of it have the same facts: `text` with "0" for each number; None if it keeps to itself.

        Known once `representative` was asked of a text of this shape.
        """
        if len(text) > LONGEST or _PLAIN.fullmatch(text) is None or "--" in text:
            return None
        shape, numbers = _NUMBER.subn("0", text)
        return shape if numbers and self._first.get(shape) else None

    def representative(self, text: str) -> str:
        """Return the text whose facts are those of `text`; `text` itself if it shares its shape with no other."""
        if len(text) > LONGEST or _PLAIN.fullmatch(text) is None or "--" in text:
            return text
        shape, numbers = _NUMBER.subn("0", text)
        if not numbers:
            return text
        first = self._first.get(shape)
        if first is not None:
            return first or text
        if len(self._first) >= MAX_SHAPES:
            self._first.clear()
        neutral = _neutral(shape, numbers)
        self._first[shape] = text if neutral else ""
        return text


@lru_cache(maxsize=MAX_SHAPES)
def _neutral(shape: str, numbers: int) -> bool:
    """True if each of the `numbers` in `shape` is a constant of which nothing depends on the value."""
    try:
        tree = parsed(shape)
    except UnparsedError:
        return False
    return len(tree.stmts) == 1 and _constants(tree.stmts[0].stmt) == numbers


def _constants(statement: pg.Node) -> int:
    """How many whole numbers a statement compares, inserts or assigns, at the top level."""
    match statement.WhichOneof("node"):
        case "select_stmt":
            select = statement.select_stmt
            return _within(select.where_clause) + sum(_within(values) for values in select.values_lists)
        case "insert_stmt":
            return _constants(statement.insert_stmt.select_stmt)
        case "update_stmt":
            update = statement.update_stmt
            assigned = sum(_within(target.res_target.val) for target in update.target_list)
            return _within(update.where_clause) + assigned
        case "delete_stmt":
            return _within(statement.delete_stmt.where_clause)
        case _:
            return 0


def _within(node: pg.Node) -> int:
    match node.WhichOneof("node"):
        case "a_const":
            return node.a_const.WhichOneof("val") == "ival"
        case "a_expr":
            return _within(node.a_expr.lexpr) + _within(node.a_expr.rexpr)
        case "bool_expr":
            return sum(map(_within, node.bool_expr.args))
        case "list":
            return sum(map(_within, node.list.items))
        case _:
            return 0
