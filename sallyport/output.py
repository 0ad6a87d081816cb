"""How commands speak: tables and sentences for people, one JSON document with `--json`. Exit codes have one home here."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway_kernel.hidden import hides

DONE, REFUSED, BAD_USAGE = 0, 1, 2

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

UNBOUNDED = 10_000
"""Columns of output that goes to a file or a pipe: nothing is cut."""

console = Console(highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else UNBOUNDED)
errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


class _Inert(dict[int, str | int]):
    """A translation that shows a hiding character by its code point; each is looked up once."""

    def __missing__(self, code: int) -> str | int:
        self[code] = f"<U+{code:04X}>" if hides(chr(code)) else code
        return self[code]


_INERT = _Inert()


def visible(text: str) -> str:
    """`text` with control, bidirectional and blank characters made visible; tabs and line ends stay."""
    return text.translate(_INERT)


def line(text: str) -> str:
    """The same in one line: what somebody else wrote cannot begin a line of ours."""
    return visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def block(text: str, indent: str = "    ") -> str:
    """The same, every line indented, for text of somebody else below a line of ours."""
    return "\n".join(indent + each for each in visible(text).split("\n"))


def emit(value: Any, *, as_json: bool, text: Iterable[Any] = ()) -> None:
    """Print `value` as JSON, or the renderables of `text`.

    Plain strings are printed literally, never as markup; JSON is ASCII, so that no text in it acts on the terminal.
    """
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2) + "\n")
        sys.stdout.flush()
        return
    for item in text:
        console.print(Text(visible(item)) if isinstance(item, str) else item)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; cells are literal text."""
    result = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        result.add_column(Text(line(column)), overflow="fold")
    for row in rows:
        result.add_row(*(Text(line(str(cell))) for cell in row))
    return result


def fields(values: Mapping[str, Any]) -> Table:
    """Names and values below each other."""
    result = Table.grid(padding=(0, 2))
    for name, value in values.items():
        result.add_row(Text(name, style="bold"), Text(visible(str(value))))
    return result


def when(micros: int) -> str:
    """An instant as local time with zone, "" for 0."""
    return datetime.fromtimestamp(micros / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if micros else ""


def fail(message: str, code: int = REFUSED) -> typer.Exit:
    """Print an error to stderr; raise what this returns."""
    errors.print(Text(f"sallyport: {visible(message)}", style="red"))
    return typer.Exit(code)
