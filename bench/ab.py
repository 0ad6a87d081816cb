"""Interleaved A/B measurement: every round measures each contender once, and only ratios within a round count.

A machine that is slow for a minute slows both sides of a ratio; the median over rounds drops what is left.
Nothing here knows what is measured.
"""

from collections.abc import Callable, Mapping
from statistics import median

import msgspec

type Measure = Callable[[], float]
"""Runs one contender once and returns its rate (larger is faster)."""


class Row(msgspec.Struct, frozen=True):
    """One line of the result: `ratio` to the reference of the same run, `goal` the floor that must hold.

    A goal of 0 marks a peer that is shown for comparison.
    """

    name: str
    ratio: float
    goal: float
    holds: bool
    low: float
    high: float


def rates(contenders: Mapping[str, Measure], rounds: int) -> dict[str, list[float]]:
    """Measure all contenders in turn, `rounds` times, after one round that is thrown away."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, measure in contenders.items():
            rate = measure()
            if number:
                found[name].append(rate)
    return found


def row(name: str, goal: float, measured: list[float], reference: list[float]) -> Row:
    """The median of the per-round ratios, with their range."""
    ratios = sorted(value / base for value, base in zip(measured, reference, strict=True))
    ratio = median(ratios)
    return Row(name, round(ratio, 3), goal, ratio >= goal, round(ratios[0], 3), round(ratios[-1], 3))
