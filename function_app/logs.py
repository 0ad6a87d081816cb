"""Structured logs: one JSON object a line, for operators. Never a command, a key or a token; the recording is another thing."""

import json
import logging

type Field = str | int | float | bool | list[str] | None


def logger(name: str) -> logging.Logger:
    """The logger of one module, below `sallyport.control_plane`."""
    return logging.getLogger(f"sallyport.control_plane.{name}")


def event(log: logging.Logger, name: str, *, level: int = logging.INFO, **fields: Field) -> None:
    """Write `name` and its fields as one line of JSON."""
    if log.isEnabledFor(level):
        log.log(level, "%s", json.dumps({"event": name, **fields}, ensure_ascii=True))
