"""Reading recorded responses back: each room knows its own frames. One line a protocol."""

from collections.abc import Callable

import msgspec

from gateway_kernel.audit import ResponseRecord


class Grid(msgspec.Struct, frozen=True):
    """One result as a table: column names, and cells as text (None is NULL)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]


class Passage(msgspec.Struct, frozen=True):
    """One result as text: `head` says what it is, `body` is its content; `note` says what else there is, where it is no text."""

    head: str
    body: str = ""
    note: str = ""


type Result = Grid | Passage
type Renderer = Callable[[bytes], tuple[Result, ...]]


def results(response: ResponseRecord) -> tuple[Result, ...]:
    """The content of a recorded response, as masked; () where the body was not kept or its kind is not known."""
    from edge_agent.protocols.http.replay import http_passages
    from edge_agent.protocols.postgres.replay import postgres_grids

    renderers: dict[str, Renderer] = {"postgres": postgres_grids, "http": http_passages}
    renderer = renderers.get(response.kind)
    return renderer(response.body) if renderer is not None and response.body else ()
