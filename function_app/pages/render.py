"""Templates and the headers that every page carries. Autoescaping is on for all of them; nothing is marked safe but what `text` made."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import azure.functions as func
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from function_app.pages.text import highlighted, oddities, visible
from gateway_kernel.model import Instant

_HERE = Path(__file__).parent
_environment = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

STATIC = {path.name: path for path in (_HERE / "static").iterdir()}
HEADERS = {
    # No script at all, own style sheet only, forms only to ourselves, never in a frame (CSP level 3).
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers send `Origin: null` with our own forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def _moment(at: Instant) -> str:
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if at else ""


def _span(seconds: int) -> str:
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


_FILTERS: dict[str, Any] = {
    "visible": visible,
    "highlighted": highlighted,
    "oddities": oddities,
    "moment": _moment,
    "span": _span,
}
_environment.filters.update(_FILTERS)


def page(template: str, status: int = 200, cookie: str = "", **values: object) -> func.HttpResponse:
    """Render a page."""
    body = _environment.get_template(template).render(**values)
    headers = HEADERS | ({"Set-Cookie": cookie} if cookie else {})
    return func.HttpResponse(body, status_code=status, mimetype="text/html", headers=headers)


def redirect(to: str, cookie: str = "") -> func.HttpResponse:
    """303: whatever was sent, the next request is a GET (RFC 9110, section 15.4.4). `to` is a path of ours."""
    return func.HttpResponse(
        status_code=303, headers=HEADERS | {"Location": to} | ({"Set-Cookie": cookie} if cookie else {})
    )
