"""The bypass corpus: one evasion a line, on one database, under one policy."""

import re
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SCHEMA = (HERE / "schema.sql").read_text()
POLICY = HERE / "policy.yaml"
HTTP_POLICY = HERE / "http_policy.yaml"
HTTP_ROUTES = HERE / "http_routes.yaml"
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


_ESCAPE = re.compile(rb"\\(n|r|t|\\|x[0-9a-fA-F]{2})")
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}


def request_bytes(written: str) -> bytes:
    """A request of http.txt with its escapes resolved: a head with line feeds, an empty line, a body."""
    return _ESCAPE.sub(lambda match: _PLAIN.get(match[1]) or bytes.fromhex(match[1][1:].decode()), written.encode())
