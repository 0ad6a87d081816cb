"""JSON laid out for people, every token as it was written: only white space differs from what would run.

Parsing and printing anew would hide what matters to who approves: a key that stands twice, an escape, a number that no double holds.
"""

import json
import re

LARGEST = 2 << 20
"""Characters of a layout; deep nesting could make it far longer than what it lays out."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_STEP = "  "


def indented(text: str) -> str:
    """The object or list `text`, laid out over lines; "" if it is none, or its layout would be too large."""
    if text.lstrip()[:1] not in ("{", "["):
        return ""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return ""
    parts: list[str] = []
    depth = size = 0
    before = ""
    for word in _TOKEN.findall(text):
        if word in ("}", "]"):
            depth -= 1
        space = _space(before, word, depth)
        parts += (space, word)
        size += len(space) + len(word)
        if size > LARGEST:
            return ""
        if word in ("{", "["):
            depth += 1
        before = word
    return "".join(parts)


def _space(before: str, word: str, depth: int) -> str:
    """What stands between two tokens."""
    if before == ":":
        return " "
    empty = before in ("{", "[") and word in ("}", "]")
    if not empty and (before in ("{", "[", ",") or word in ("}", "]")):
        return f"\n{_STEP * depth}"
    return ""
