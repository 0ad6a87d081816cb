"""United States social security numbers, `AAA-GG-SSSS` or with spaces, in the ranges that are issued.

Not found: nine bare digits, which cannot be told from any other number.
"""

from collections.abc import Iterator

from .detector import ALNUM, Detector, Span

_NEIGHBOURS = ALNUM | frozenset(b"-")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    if (start and data[start - 1] in _NEIGHBOURS) or (end < len(data) and data[end] in _NEIGHBOURS):
        return
    area = data[start : start + 3]
    separators_agree = data[start + 3] == data[start + 6]
    issued = area not in (b"000", b"666") and area[0] != 0x39
    if separators_agree and issued and data[start + 4 : start + 6] != b"00" and data[start + 7 : end] != b"0000":
        yield start, end


DETECTOR = Detector(name="us_ssn", pattern=rb"[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}", confirm=_confirm)

EXAMPLES = (
    ("ssn 123-45-6789", "123-45-6789"),
    ("078 05 1120.", "078 05 1120"),
)
COUNTER_EXAMPLES = (
    "000-12-3456",
    "666-12-3456",
    "912-12-3456",
    "123-00-6789",
    "123-45-0000",
    "123-45 6789",
    "1123-45-6789",
    "123-45-67890",
    "2026-11-22",
    "123456789",
)
