"""The bypass corpus: one evasion a line, on one database, under one policy."""

from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SCHEMA = (HERE / "schema.sql").read_text()
POLICY = HERE / "policy.yaml"
CANARY = "CANARY"


class Evasion(NamedTuple):
    """One line of a corpus."""

    attack: str
    twin: str
    verdict: str
    effect: str


def corpus(name: str) -> list[Evasion]:
    """The evasions in the file `name`."""
    lines = (HERE / name).read_text().splitlines()
    return [Evasion(*line.split("\t")) for line in lines if line and not line.startswith("#")]
