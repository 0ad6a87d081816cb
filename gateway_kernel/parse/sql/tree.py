"""Text to PostgreSQL's own parse tree, without ever hurting the process that asks.

`parsed` is the only door to libpg_query for text that somebody sent. The C library recurses over the tree that it
builds, so a text nested deeply enough would overflow the stack and end the process: such text never reaches it. Trees are
shared from a cache: copy one before changing it.

The grammar is PostgreSQL 18's, the server may be 13 to 18. What we know of texts that both accept and read differently:
none that changes effects. Text that only 18 accepts (MERGE, SQL/JSON, RETURNING OLD/NEW, `GROUP BY DISTINCT`) is a syntax
error in the older server. Words reserved since (`merge_action`, `json_table`, …) were plain function names before and then fail our
catalogue's lookup or grammar here, never there alone. Digits directly followed by letters (`1a`, `SELECT 1AS x`) are refused since 15; older
servers split them into number and alias, and here they are refused. Underscores in numbers (`1_000`) and `0x` literals, new in 16,
read in older ones as number and alias (`SELECT 0x1F` is column "x1f" of value 0): a different constant, the same effects.
String literals depend on `standard_conforming_strings`, which the edge pins on.
"""

from functools import lru_cache
from typing import cast

import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2 as pg

from gateway_kernel.errors import SallyportError

MAX_STATEMENT = 1024 * 1024
"""Bytes. A parse above this blocks an event loop for longer than a person would call a moment."""

MAX_NESTING = 10_000
"""Levels that libpg_query's recursion takes safely on an 8 MiB stack (20,000 did, 50,000 crashed)."""

_CACHEABLE = 16 * 1024
_OPENING, _CLOSING = frozenset((40, 91)), frozenset((41, 93))  # ( [ and ) ] are their own token numbers
_SEPARATORS = frozenset((44, 59))  # , and ;
_SET_OPERATIONS = frozenset((pg.Token.UNION, pg.Token.INTERSECT, pg.Token.EXCEPT))


class UnparsedError(SallyportError):
    """The text cannot be read. The message is one sentence for the refusal.

    Where the grammar itself refused it, `complaint` is PostgreSQL's own message and `position` the character it points at, from 1.
    """

    def __init__(self, sentence: str, complaint: str = "", position: int = 0) -> None:
        super().__init__(sentence)
        self.complaint = complaint
        self.position = position


def parsed(text: str) -> pg.ParseResult:
    """Return the tree of `text`; raise `UnparsedError` for anything that is not PostgreSQL of a sane size and depth."""
    return _remembered(text) if len(text) <= _CACHEABLE else _parse(text)


@lru_cache(maxsize=512)
def _remembered(text: str) -> pg.ParseResult:
    return _parse(text)


def _parse(text: str) -> pg.ParseResult:
    if "\0" in text:
        raise UnparsedError("The statement contains a NUL byte.")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise UnparsedError("The statement is not valid UTF-8.") from None
    if size > MAX_STATEMENT:
        raise UnparsedError(f"The statement has {size} bytes; at most {MAX_STATEMENT} can be judged.")
    try:
        if len(text) > 2 * MAX_NESTING and _nesting(text) > MAX_NESTING:  # a level takes two characters at least
            raise UnparsedError("The statement is nested too deeply to be judged.")
        return postgast.parse(text)
    except postgast.PgQueryError as error:
        sentence = f"PostgreSQL's grammar does not accept the statement: {error}."
        raise UnparsedError(sentence, error.message, error.cursorpos) from None
    except DecodeError:
        raise UnparsedError("The statement is nested too deeply to be judged.") from None


def _nesting(text: str) -> int:
    """An upper bound of the tree's depth: in every open bracket, the tokens since its last comma, added up.

    Set operations nest to the left across commas, so they are counted all.
    """
    deepest = open_tokens = set_operations = 0
    chain, outer = 0, cast("list[int]", [])
    for token in postgast.scan(text).tokens:
        number = token.token
        if number in _SEPARATORS:
            open_tokens -= chain
            chain = 0
        elif number in _OPENING:
            outer.append(chain)
            chain = 0
        elif number in _CLOSING and outer:
            open_tokens -= chain
            chain = outer.pop()
        elif number in _SET_OPERATIONS:
            set_operations += 1
        chain += 1
        open_tokens += 1
        deepest = max(deepest, open_tokens)
    return deepest + set_operations
