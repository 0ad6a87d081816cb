"""Detectors of sensitive content, in one explicit order.

Each detector is a file with its own examples (`text`, `what is hidden in it`) and counter-examples, which one test walks. A
new one is a file and a line in `REGISTRY`. `secret`, in a policy's `detect:`, stands for the whole family of detectors that find
credentials. Detection is best effort and the second net: masking by column is the exact one.
"""

from collections.abc import Iterable

from . import (
    aws_key,
    azure_storage_key,
    connection_string,
    credit_card,
    email,
    generic_secret,
    github_token,
    iban,
    ip_address,
    jwt,
    phone,
    private_key,
    sas_token,
    us_ssn,
)
from .detector import MAX_MATCH, Detector, Span, compile_set

REGISTRY: tuple[Detector, ...] = (
    email.DETECTOR,
    phone.DETECTOR,
    credit_card.DETECTOR,
    iban.DETECTOR,
    us_ssn.DETECTOR,
    ip_address.DETECTOR,
    jwt.DETECTOR,
    private_key.DETECTOR,
    azure_storage_key.DETECTOR,
    sas_token.DETECTOR,
    connection_string.DETECTOR,
    aws_key.DETECTOR,
    github_token.DETECTOR,
    generic_secret.DETECTOR,
)
FAMILY = "secret"
NAMES: tuple[str, ...] = (*(detector.name for detector in REGISTRY), FAMILY)  # what `detect:` accepts


def resolve(names: Iterable[str]) -> tuple[Detector, ...]:
    """The detectors of these names, in the registry's order, the family `secret` expanded. ValueError for an unknown name."""
    wanted = set(names)
    if unknown := wanted.difference(NAMES):
        raise ValueError(f"unknown detector {min(unknown)!r}; known are {', '.join(NAMES)}")
    return tuple(d for d in REGISTRY if d.name in wanted or (d.secret and FAMILY in wanted))


class Screen:
    """A first look over much data at once: which of these detectors could find something, and where?

    The answer is loose (no boundaries, no check digits) but complete: whatever a detector confirms inside any part of the data
    overlaps one of the spans given here. So raw frames are screened whole, and only the values under a span examined.
    """

    __slots__ = ("_anchored", "_rest", "_set")

    def __init__(self, detectors: Iterable[Detector]) -> None:
        chosen = tuple(detectors)
        self._anchored = tuple((anchor, d) for d in chosen for anchor in d.anchors)
        self._rest = tuple(d for d in chosen if not d.anchors)
        self._set = compile_set([d.pattern for d in self._rest]) if self._rest else None

    def which(self, data: bytes) -> list[Detector]:
        """The detectors that have a candidate in `data`. One pass for all those without anchors: some 500 MB/s."""
        found: list[Detector] = []
        for anchor, detector in self._anchored:
            if anchor in data and detector not in found:
                found.append(detector)
        if self._set is not None:
            found += [self._rest[index] for index in self._set.Match(data) or ()]
        return found

    def spans(self, data: bytes) -> list[Span]:
        """Sorted candidate spans; they may overlap."""
        return sorted(span for detector in self.which(data) for span in detector.candidates(data))


__all__ = ["FAMILY", "MAX_MATCH", "NAMES", "REGISTRY", "Detector", "Screen", "Span", "compile_set", "resolve"]
