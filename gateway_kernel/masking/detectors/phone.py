"""Telephone numbers: international with a leading plus (E.164, 7 to 15 digits), and North American with its separators.

Not found: bare runs of digits, national formats of other countries: they cannot be told from order numbers.
"""

from collections.abc import Iterator

from .detector import ALNUM, DIGITS, Detector, Span, compile_pattern

_INTERNATIONAL = rb"\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}"
_AMERICAN = rb"(?:\([2-9][0-9]{2}\)[ .-]?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4}"
_american = compile_pattern(_AMERICAN)
_FEWEST = 7  # digits
_LONGEST_AMERICAN = 16  # bytes


def _bounded(data: bytes, start: int, end: int) -> bool:
    if end < len(data) and data[end] in DIGITS:
        return False
    before = data[start - 1] if start else 0
    # Otherwise a sum, an exponent, or the middle of a longer number.
    return not (before in ALNUM or (before in b"+-." and start > 1 and data[start - 2] in ALNUM))


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    found = start
    if data[start] == 0x2B:
        stop = end
        if stop < len(data) and data[stop] in DIGITS:  # 15 digits ended inside a group: that group is another number
            while data[stop - 1] in DIGITS:
                stop -= 1
            while data[stop - 1] not in DIGITS and stop > start + 1:
                stop -= 1
        if sum(byte in DIGITS for byte in data[start:stop]) >= _FEWEST and _bounded(data, start, stop):
            yield start, stop
            found = stop
    # A second number may stand so close that the first took its beginning.
    for match in _american.finditer(data, found, min(len(data), end + _LONGEST_AMERICAN)):
        if _bounded(data, *match.span()):
            yield match.span()


DETECTOR = Detector(name="phone", pattern=_INTERNATIONAL + b"|" + _AMERICAN, confirm=_confirm)

EXAMPLES = (
    ("call +1 (415) 555-2671 today", "+1 (415) 555-2671"),
    ("+442071838750", "+442071838750"),
    ("tel:+49-30-901820", "+49-30-901820"),
    ("+1 415 555 2671 5551234567", "+1 415 555 2671"),
    ("(415) 555-2671", "(415) 555-2671"),
    ("415.555.2671", "415.555.2671"),
)
COUNTER_EXAMPLES = (
    "4155552671",
    "2026-11-22 10:00:00+02",
    "1e+12345678",
    "10.1.2.30",
    "123-45-6789",
    "+12345678901234567890",
    "a+12345678",
)
