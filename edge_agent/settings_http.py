"""What edge.yaml says about HTTP resources alone: routes, where a credential goes, which upstreams and token scopes are meant.

Each check returns what is wrong as a sentence, "" if nothing is; `settings` knows the places.
"""

import re
from ipaddress import ip_address
from pathlib import Path

from edge_agent import openapi
from edge_agent.gateway import Route, Upstream
from edge_agent.routes import PathError, segments_of
from edge_agent.settings_file import InjectedFile, RouteFile

PROTOCOL = "http"
SCOPE_FOLLOWS = "?scope="
"""Between a managed identity's client id and the scope of its token."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_UNTOUCHABLE = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "cookie",
    )
)
"""Headers that say how a request is framed or where it goes, or that the edge keeps itself."""

SCOPES = {
    "management.azure.com": "https://management.azure.com/.default",
    "graph.microsoft.com": "https://graph.microsoft.com/.default",
    "api.loganalytics.azure.com": "https://api.loganalytics.azure.com/.default",
    ".blob.core.windows.net": "https://storage.azure.com/.default",
    ".queue.core.windows.net": "https://storage.azure.com/.default",
    ".table.core.windows.net": "https://storage.azure.com/.default",
    ".file.core.windows.net": "https://storage.azure.com/.default",
    ".dfs.core.windows.net": "https://storage.azure.com/.default",
    ".vault.azure.net": "https://vault.azure.net/.default",
    ".managedhsm.azure.net": "https://managedhsm.azure.net/.default",
    ".database.windows.net": "https://database.windows.net/.default",
    ".openai.azure.com": "https://cognitiveservices.azure.com/.default",
    ".cognitiveservices.azure.com": "https://cognitiveservices.azure.com/.default",
    ".search.windows.net": "https://search.azure.com/.default",
    ".azconfig.io": "https://azconfig.io/.default",
}
"""Entra scopes by host, or by its end where the key begins with a dot."""


def scope_for(host: str) -> str:
    """The Entra scope of an Azure service by its host, "" for a host that is none."""
    host = host.lower().rstrip(".")
    if host in SCOPES:
        return SCOPES[host]
    _, dot, rest = host.partition(".")
    return SCOPES.get(f"{dot}{rest}", "") if dot else ""


def upstream_problem(upstream: Upstream) -> str:
    """A credential and the data travel in clear on plain HTTP, so that is for loopback only."""
    scheme = upstream.options.get("scheme", "")
    if scheme not in ("http", "https"):
        return f"expected an https:// URL (or http:// on loopback) for a resource of protocol {PROTOCOL}"
    if scheme == "http" and not _is_loopback(upstream.host):
        return "http:// is for loopback only: a credential would travel in clear; use https://"
    try:
        segments_of(upstream.path or "/")
    except PathError as error:
        return str(error)
    return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def injection_problem(written: InjectedFile) -> str:
    """A credential goes into one header or one query parameter, and into none that frames the request."""
    if bool(written.header) == bool(written.query):
        return "write either `header` or `query`: where the credential goes"
    if written.header and not _TOKEN.match(written.header):
        return f"{written.header!r} is no name of a header"
    if written.header.lower() in _UNTOUCHABLE:
        return f"the header {written.header!r} is the edge's own; a credential cannot go there"
    if "{secret}" not in written.value:
        return "the value has no `{secret}` in it"
    return ""


def scope_problem(scheme: str, place: str, host: str) -> str:
    """A token is for one service, which an unknown host does not tell."""
    if scheme == "entra" and not place and not scope_for(host):
        return f"no Entra scope is known for {host}; write it: entra://api://APPLICATION/.default"
    if scheme == "managed-identity" and SCOPE_FOLLOWS not in place and not scope_for(host):
        return f"no Entra scope is known for {host}; write it: managed-identity://CLIENT-ID{SCOPE_FOLLOWS}api://APPLICATION/.default"
    return ""


def route_of(written: RouteFile) -> Route:
    """A route as the edge compares it; raise `PathError` if its path cannot be matched."""
    effects = tuple((effect.kind, effect.object) for effect in written.effects)
    return Route(segments_of(written.path), frozenset(written.methods), written.id, effects, written.speaks)


def described(path: Path, upstream: Upstream) -> tuple[Route, ...]:
    """The routes of an OpenAPI document; raise `openapi.OpenApiError` with every problem in it.

    Routes are below the upstream URL's path. Where that is empty, they are below the path of the document's own server.
    """
    return openapi.routes(path, below_server=upstream.path in ("", "/"))
