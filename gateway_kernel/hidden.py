"""Characters that hide or reorder others, so that a command reads as something else ("Trojan Source", CVE-2021-42574).

Pages and terminals show them by their code point. How is the medium's business; which ones is decided here, once.
"""

import unicodedata

_PLAIN = frozenset("\n\t")


def hides(character: str) -> bool:
    """True for characters that a reader would not see, or that change the order of others (Unicode TR 9)."""
    if character in _PLAIN:
        return False
    category = unicodedata.category(character)
    if category in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return True
    # Hangul and Braille fillers, combining grapheme joiner, no-break and other wide or thin spaces: blank, but not a space to a parser
    return (
        character in "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
        or (category == "Zs" and character != " ")
        or _variation(character)
    )


def _variation(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
