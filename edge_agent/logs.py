"""Logs for operators: one JSON object a line on standard error. The recording is another thing, and neither holds secrets.

Callers pass what they know as fields, never a credential, a key or a statement's text.
"""

import datetime as dt
import logging
import sys
import traceback
from typing import Any

import msgspec

_FIELDS = "sallyport_fields"
_encode = msgspec.json.Encoder(enc_hook=str).encode


class _JsonLines(logging.Formatter):
    def __init__(self, **always: str | int) -> None:
        super().__init__()
        self._always = always

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name.removeprefix("edge_agent."),
            "message": record.getMessage(),
            **self._always,
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            # Only where it happened and what type: an exception's text may quote what a peer sent.
            kind, _, trace = record.exc_info
            line["error"] = kind.__name__ if kind else ""
            line["trace"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
        return _encode(line).decode()


class Log:
    """A logger whose fields are keyword arguments."""

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, **fields: Any) -> None:
        self._logger.debug(message, extra={_FIELDS: fields})

    def info(self, message: str, **fields: Any) -> None:
        self._logger.info(message, extra={_FIELDS: fields})

    def warning(self, message: str, **fields: Any) -> None:
        self._logger.warning(message, extra={_FIELDS: fields})

    def fault(self, message: str, *, failure: BaseException | None = None, **fields: Any) -> None:
        """Log an error; of `failure` only its type and where it was raised."""
        self._logger.error(message, exc_info=failure, extra={_FIELDS: fields})


def configure(level: str = "info", **always: str | int) -> None:
    """Send this process's logs to standard error as JSON lines, each carrying the fields `always`."""
    sink = logging.StreamHandler(sys.stderr)
    sink.setFormatter(_JsonLines(**always))
    logging.basicConfig(level=level.upper(), handlers=[sink], force=True)
    logging.getLogger("asyncio").setLevel("WARNING")
    logging.getLogger("aiohttp.access").setLevel("WARNING")
