"""How commands speak: whatever others wrote is inert, and nothing is cut."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway_kernel.hidden import hides
from sallyport.output import block, fields, line, table, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "<U+001B>[2J"),
        ("a\u202eb", "a<U+202E>b"),
        ("a\u200bb\ufeff", "a<U+200B>b<U+FEFF>"),
        ("\x9b31m", "<U+009B>31m"),
        ("tag\U000e0041", "tag<U+E0041>"),
        ("a\rb", "a<U+000D>b"),
        ("plain ünïcode\t\n", "plain ünïcode\t\n"),
    ],
)
def test_hiding_characters_are_shown(text: str, shown: str):
    """Controls, bidirectional and invisible characters appear by number; letters, tabs and line ends stay."""
    assert visible(text) == shown


@given(st.text())
def test_nothing_hides(text: str):
    """Of any text, what is shown has no hiding character, and showing it again changes nothing."""
    shown = visible(text)
    assert not any(map(hides, shown))
    assert visible(shown) == shown
    assert "\n" not in line(text)
    assert all(each.startswith("    ") for each in block(text).split("\n"))


@given(st.lists(st.text(max_size=20), min_size=2, max_size=2))
def test_tables_are_literal(cells: list[str]):
    """Markup is text, a line end does not make a row."""
    out = io.StringIO()
    Console(file=out, width=1000).print(table(("A", "B"), [["[red]x", *cells[:1]]]))
    assert "[red]x" in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2


def test_fields_are_literal():
    """Names and values are not taken for markup either."""
    out = io.StringIO()
    Console(file=out, width=1000).print(fields({"name": "[bold]\x1b[0m"}))
    assert "[bold]<U+001B>[0m" in out.getvalue()
