"""Which functions may hand out the content of relations that the text does not name.

A function that the server came with depends on its arguments alone, except those listed here. Anything else has a body that
nobody has read, so what it returns may be masked content: it is opaque. This says nothing of side effects (see `effects`).
"""

import re

from gateway_kernel.parse.sql.catalogue import Callable, Catalogue, Unanswered
from gateway_kernel.parse.sql.functions import PURE_EXTENSIONS

_READS_CONTENT = re.compile(
    r"""(table|query|cursor|schema|database)_to_xml(schema|_and_xmlschema)?
    | lo_get | loread | lo_export | ts_stat | ts_rewrite | pg_mcv_list_items | pg_read_(binary_)?file(_old|_all)?
    | pg_logical_slot_(get|peek)(_binary)?_changes | brin_.* | pg_get_shmem.*""",
    re.VERBOSE,
)


def reads_content(schema: str, name: str) -> bool:
    """True if this built-in function reads relations, or large objects, that are named by its arguments."""
    return schema in {"", "pg_catalog"} and _READS_CONTENT.fullmatch(name) is not None


def is_opaque(candidates: tuple[Callable, ...] | Unanswered, arguments: int) -> bool:
    """True if a call with so many arguments that may mean any of these could run a body that nobody has read."""
    if isinstance(candidates, Unanswered):
        return True
    return any(
        not candidate.builtin and candidate.extension not in PURE_EXTENSIONS
        for candidate in candidates
        if _takes(candidate, arguments)
    )


def is_own_code(candidates: tuple[Callable, ...] | Unanswered) -> bool:
    """True if an operator or a cast that may mean any of these could be somebody's own; those of an extension compute."""
    return isinstance(candidates, Unanswered) or any(not found.builtin and not found.extension for found in candidates)


def opaque_function(catalogue: Catalogue, schema: str, name: str, arguments: int) -> bool:
    """True if `schema.name(arguments)` may be somebody's own function. A call that means nothing at all fails upstream."""
    return schema != "pg_catalog" and is_opaque(catalogue.candidates("function", schema, name), arguments)


def opaque_operator(catalogue: Catalogue, schema: str, name: str) -> bool:
    """True if this operator may be somebody's own."""
    return schema != "pg_catalog" and is_own_code(catalogue.candidates("operator", schema, name))


def _takes(candidate: Callable, arguments: int) -> bool:
    least = candidate.arguments - candidate.defaults - (1 if candidate.variadic else 0)
    return least <= arguments and (candidate.variadic or arguments <= candidate.arguments)
