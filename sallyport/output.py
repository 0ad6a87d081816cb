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

DONE, REFUSED, BAD_USAGE = 0, 1, 2

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

# Controls that reorder or hide text are shown by their code point, so that what is read is what is there.
_ORDERING = (*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
_CONTROLS = (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
_INVISIBLE = {code: f"<U+{code:04X}>" for code in (*_ORDERING, *_CONTROLS)}


def visible(text: str) -> str:
    """`text` with control, bidirectional and zero-width characters made visible; tabs and line ends stay."""
    return text.translate(_INVISIBLE)


def emit(value: Any, *, as_json: bool, text: Iterable[Any] = ()) -> None:
    """Print `value` as JSON, or the renderables of `text`. Plain strings are printed literally, never as markup."""
    if as_json:
        sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        return
    for item in text:
        console.print(Text(visible(item)) if isinstance(item, str) else item)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; cells are literal text."""
    result = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        result.add_row(*(Text(visible(str(cell))) for cell in row))
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
