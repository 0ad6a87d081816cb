"""Making hostile text inert and visible: everything is escaped, and characters that hide or reorder others are shown by their number.

Bidirectional controls (Unicode TR 9), zero-width and other format characters, and control characters let a command look like another one
(CVE-2021-42574, "Trojan Source").
"""

from typing import Any, ClassVar

from markupsafe import Markup, escape
from pygments import format  # noqa: A004 - its name there
from pygments.formatters import HtmlFormatter
from pygments.lexer import RegexLexer, bygroups
from pygments.lexers import get_lexer_by_name
from pygments.lexers.special import TextLexer
from pygments.token import Literal, Name, Operator, Text
from pygments.util import ClassNotFound

from gateway_kernel.hidden import hides

LONGEST = 20_000
"""Characters of a command that a page shows before it offers the whole."""


class RequestLexer(RegexLexer):
    """The head of an HTTP request as operations have it. Pygments' own lexer wants a protocol version in the first line."""

    name = "HTTP request head"
    tokens: ClassVar[dict[str, Any]] = {
        "root": [(r"([^ \n]+)( )([^\n]*)(\n|\Z)", bygroups(Name.Function, Text, Name.Namespace, Text), "headers")],
        "headers": [(r"([^:\n]+)(:)([^\n]*)(\n|\Z)", bygroups(Name.Attribute, Operator, Literal, Text))],
    }


_OWN = {"http": RequestLexer()}


def visible(text: str) -> Markup:
    """Escape, and show each hiding character by its code point."""
    return _marked(str(escape(text)))


def highlighted(text: str, protocol: str) -> Markup:
    """The command in colours of its language (Pygments knows protocols by the same names; plain text where it does not)."""
    try:
        lexer = _OWN.get(protocol) or get_lexer_by_name(protocol)
    except ClassNotFound:
        lexer = TextLexer()
    # Unprocessed: `Lexer.get_tokens` would drop a byte order mark and turn a carriage return into a line end before anybody saw them.
    tokens = ((kind, value) for _, kind, value in lexer.get_tokens_unprocessed(text))
    # Pygments escapes; its own markup holds no hiding character, so marking afterwards touches only the command.
    return _marked(format(tokens, HtmlFormatter(nowrap=True)))


def oddities(text: str) -> list[str]:
    """What a reader should know about the characters of a command, as sentences."""
    found: list[str] = []
    hidden = sum(1 for character in text if hides(character))
    if hidden:
        found.append(f"{hidden} hidden or reordering character{'s' if hidden > 1 else ''}, shown as U+….")
    letters = sorted({character for character in text if ord(character) > 0x7F and character.isalpha()})
    if letters:
        shown = ", ".join(f"{character} (U+{ord(character):04X})" for character in letters[:8])
        found.append(f"Letters outside ASCII, which may look like others: {shown}{'…' if len(letters) > 8 else ''}")
    return found


def _marked(html: str) -> Markup:
    parts = [f'<span class="hidden-character">U+{ord(one):04X}</span>' if hides(one) else one for one in html]
    return Markup("".join(parts))  # noqa: S704 - escaped above, and marked with text of ours
