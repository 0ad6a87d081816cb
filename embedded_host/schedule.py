"""NCRONTAB: when a timer function is due.

Six fields, second first: `{second} {minute} {hour} {day} {month} {day of week}`; five fields leave the second at 0. Each
is `*`, a number, a name (JAN, MON), a range, a list, with an optional `/step`. Day and day of week must **both** match, as
NCrontab has it (Unix cron takes either). Sunday is 0. All times are UTC.
https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
"""

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

MONTHS = {name.upper(): n for n, name in enumerate(calendar.month_abbr) if name}
DAYS = {name: n for n, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)
PART = re.compile(r"(?P<first>\*|\w+)(?:-(?P<last>\w+))?(?:/(?P<step>\d+))?")
HORIZON = 41 * 366  # days; 29 February falls on a given weekday at least that often, across a century year too


@dataclass(frozen=True, slots=True)
class Schedule:
    """A parsed expression: the allowed values of each field."""

    text: str
    fields: tuple[frozenset[int], ...]

    def after(self, moment: datetime) -> datetime:
        """The first due time strictly after `moment` (aware UTC). Raises ValueError where there is none."""
        seconds, minutes, hours, days, months, weekdays = self.fields
        start = moment.replace(microsecond=0) + timedelta(seconds=1)
        midnight = start.replace(hour=0, minute=0, second=0)
        for ahead in range(HORIZON):
            day = midnight + timedelta(days=ahead)
            if day.month not in months or day.day not in days or day.isoweekday() % 7 not in weekdays:
                continue
            earliest = (start.hour, start.minute, start.second) if ahead == 0 else (0, 0, 0)
            if (clock := _first(sorted(hours), sorted(minutes), sorted(seconds), earliest)) is not None:
                return day.replace(hour=clock[0], minute=clock[1], second=clock[2])
        raise ValueError(f"schedule '{self.text}' is never due")


def _first(
    hours: list[int], minutes: list[int], seconds: list[int], earliest: tuple[int, int, int]
) -> tuple[int, int, int] | None:
    for hour in (h for h in hours if h >= earliest[0]):
        for minute in (m for m in minutes if (hour, m) >= earliest[:2]):
            for second in seconds:
                if (hour, minute, second) >= earliest:
                    return hour, minute, second
    return None


def parse_schedule(text: str) -> Schedule:
    """Parse an expression. Raises ValueError that names the field."""
    parts = text.split()
    if len(parts) == len(FIELDS) - 1:
        parts.insert(0, "0")
    if len(parts) != len(FIELDS):
        raise ValueError(f"schedule '{text}': expected six fields, second minute hour day month day-of-week")
    return Schedule(text, tuple(_field(text, part, *field) for part, field in zip(parts, FIELDS, strict=True)))


def _field(text: str, part: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for one in part.split(","):
        match = PART.fullmatch(one)
        if match is None:
            raise ValueError(f"schedule '{text}': {name} '{one}' is not a number, range, list or step")
        first = low if match["first"] == "*" else _value(text, name, match["first"], names)
        step = int(match["step"] or 1)
        last = high if match["first"] == "*" or match["step"] else first
        if match["last"]:
            last = _value(text, name, match["last"], names)
        if not (low <= first <= last <= high) or step == 0:
            raise ValueError(f"schedule '{text}': {name} '{one}' is outside {low}-{high}")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _value(text: str, name: str, word: str, names: dict[str, int]) -> int:
    if word.isdecimal():
        return int(word)
    if word.upper()[:3] in names and len(word) >= len("MON"):
        return names[word.upper()[:3]]
    raise ValueError(f"schedule '{text}': {name} '{word}' is not a number" + (" or a name" if names else ""))
