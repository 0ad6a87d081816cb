"""Route templates of HTTP functions, as ASP.NET Core's router (under Azure's host) reads them.

Supported: literals, `{name}`, `{name?}`, `{*name}`, several parts in one segment, and the constraints below. A template
that uses more is an error at start, never a route that silently matches something else. A path matches without
regard to case; where several routes match, the one with more literal segments first wins.
https://learn.microsoft.com/aspnet/core/fundamentals/routing
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")  # of a trigger that names none
CONSTRAINTS = {
    "": r"[^/]+",
    "int": r"-?\d{1,10}",
    "long": r"-?\d{1,19}",
    "decimal": r"-?\d+(?:\.\d+)?",
    "double": r"-?\d+(?:\.\d+)?",
    "float": r"-?\d+(?:\.\d+)?",
    "bool": r"true|false",
    "alpha": r"[a-z]+",
    "guid": r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}",
}
PARAMETER = re.compile(r"\{(?P<catch>\*{0,2})(?P<name>[A-Za-z_]\w*)(?::(?P<kind>[a-z]+))?(?P<optional>\??)\}")
LITERAL, CONSTRAINED, OPEN, CATCH_ALL = range(4)


@dataclass(frozen=True, slots=True)
class Route[T]:
    """One template with its methods and whatever it leads to."""

    template: str
    methods: frozenset[str]
    target: T
    pattern: re.Pattern[str]
    rank: tuple[int, ...]  # per segment; smaller is more exact


def route[T](template: str, methods: Iterable[str], target: T) -> Route[T]:
    """Compile a template without leading slash. Raises ValueError where it uses what is not supported."""
    pattern, rank = "", list[int]()
    for segment in template.strip("/").split("/") if template.strip("/") else ():
        text, kind = _segment(template, segment)
        optional = segment.endswith("?}") or kind == CATCH_ALL
        pattern += f"(?:/{text})?" if optional else f"/{text}"
        rank.append(kind)
    allowed = frozenset(method.upper() for method in methods) or frozenset(METHODS)
    return Route(template, allowed, target, re.compile(pattern + "/?", re.IGNORECASE), tuple(rank))


def _segment(template: str, segment: str) -> tuple[str, int]:
    pattern, kind, at = "", LITERAL, 0
    for found in PARAMETER.finditer(segment):
        pattern += _literal(template, segment[at : found.start()])
        at = found.end()
        constraint = found["kind"] or ""
        if constraint not in CONSTRAINTS:
            known = ", ".join(filter(None, CONSTRAINTS))
            raise ValueError(f"route '{template}': constraint '{constraint}' is not one of {known}")
        body = ".*" if found["catch"] else CONSTRAINTS[constraint]
        pattern += f"(?P<{found['name']}>{body})"
        kind = CATCH_ALL if found["catch"] else CONSTRAINED if constraint else OPEN
    return pattern + _literal(template, segment[at:]), kind


def _literal(template: str, text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError(f"route '{template}': '{text}' is not a parameter this host can read")
    return re.escape(text)


class Router[T]:
    """All routes, most exact first."""

    def __init__(self, routes: Iterable[Route[T]]) -> None:
        self._routes = sorted(routes, key=lambda one: (one.rank, one.template))

    def find(self, method: str, raw_path: str) -> tuple[T, dict[str, str]] | None:
        """The target and its decoded parameters. None also for a wrong method: Azure's host answers 404 there
        (azure-functions-host issue 10098)."""
        for one in self._routes:
            if method in one.methods and (match := one.pattern.fullmatch(raw_path)):
                return one.target, {k: unquote(v) for k, v in match.groupdict().items() if v is not None}
        return None
