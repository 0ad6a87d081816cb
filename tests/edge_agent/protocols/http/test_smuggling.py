"""The corpus of smuggling.txt: each attack is refused however it arrives, its benign twin is read as h11 and httptools read it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from edge_agent.protocols.http import messages as m
from edge_agent.protocols.http.messages import PeerError, RequestHead, ResponseHead
from tests.edge_agent.protocols.http import reading
from tests.edge_agent.protocols.http.reading import STRANGER

_PLACES = {
    "request line": "{}\\r\\nHost: a\\r\\n\\r\\n",
    "host": "GET / HTTP/1.1\\r\\n{}\\r\\n\\r\\n",
    "field": "POST / HTTP/1.1\\r\\nHost: a\\r\\n{}",
    "chunked": "POST / HTTP/1.1\\r\\nHost: a\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n{}",
    "whole": "{}",
    "response": "HTTP/1.1 200 OK\\r\\n{}",
    "status line": "{}\\r\\nContent-Length: 0\\r\\n\\r\\n",
}


class Case(NamedTuple):
    """One line of the corpus, put into its place."""

    section: str
    status: int
    attack: bytes
    twin: bytes
    what: str

    @property
    def answers(self) -> bool:
        return self.section in ("response", "status line")


def _bytes(place: str, text: str) -> bytes:
    written = place.replace("{}", text.replace("{cr}", "\\r\\n"))
    return written.encode("latin-1").decode("unicode_escape").encode("latin-1")


def _corpus() -> list[Case]:
    cases: list[Case] = []
    section = ""
    for line in (Path(__file__).parent / "smuggling.txt").read_text("utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif line and not line.startswith("#"):
            status, attack, twin, what = (part.strip(" ") for part in line.split(" | ", 3))
            place = _PLACES[section]
            cases.append(Case(section, int(status), _bytes(place, attack), _bytes(place, twin), what))
    return cases


CASES = _corpus()
REQUESTS = [case for case in CASES if not case.answers]
RESPONSES = [case for case in CASES if case.answers]


def _name(case: Case) -> str:
    return f"{case.section}: {case.what}"


def _read(case: Case, chunks: list[bytes]) -> reading.Whole[RequestHead] | reading.Whole[ResponseHead] | None:
    return reading.response(chunks) if case.answers else reading.request(chunks)


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_an_attack_is_refused_however_it_arrives(case: Case) -> None:
    """Whole, byte by byte, and with another request behind it: never a message, always the same status."""
    for data in (case.attack, case.attack + STRANGER):
        for chunks in reading.ways(data):
            with pytest.raises(PeerError) as refusal:
                _read(case, chunks)
            assert refusal.value.status == case.status, refusal.value.text
            assert refusal.value.text


@pytest.mark.parametrize("case", CASES, ids=_name)
def test_its_twin_is_read_however_it_arrives(case: Case) -> None:
    """Whole, byte by byte, and with a stranger's bytes behind it, which stay behind it."""
    whole = _read(case, [case.twin])
    assert whole is not None
    assert whole.leftover == b""
    assert _read(case, reading.singly(case.twin)) == whole
    followed = _read(case, [case.twin + STRANGER])
    assert followed is not None
    assert followed == whole._replace(leftover=STRANGER)


@pytest.mark.parametrize("case", REQUESTS, ids=_name)
def test_others_read_a_benign_request_alike(case: Case) -> None:
    """h11 and httptools: method, target, fields in order, body."""
    whole = reading.request([case.twin])
    assert whole is not None
    data = case.twin.removeprefix(b"\r\n")  # h11 has no patience with an empty line
    fields = [(name.lower(), value) for name, value in whole.head.headers]
    for peer in (reading.by_h11(data), reading.by_httptools(data)):
        assert peer.method == whole.head.method
        assert peer.target in (whole.head.target, *_absolute_forms(case.twin))
        assert peer.headers == fields or peer.headers == [(name, _lowered(name, value)) for name, value in fields]
        assert peer.body == whole.body


@pytest.mark.parametrize("case", RESPONSES, ids=_name)
def test_others_read_a_benign_response_alike(case: Case) -> None:
    """h11 and httptools: status, fields in order, body."""
    whole = reading.response([case.twin])
    assert whole is not None
    data = m.response_head(whole.head.status, "OK", whole.head.headers) + case.twin.partition(b"\r\n\r\n")[2]
    fields = [(name.lower(), value) for name, value in whole.head.headers]
    for peer in (reading.by_h11(data, answers="GET"), reading.by_httptools(data, response=True)):
        assert peer.target == str(whole.head.status).encode()
        assert peer.headers == fields
        assert peer.body == whole.body


def _absolute_forms(data: bytes) -> list[bytes]:
    target = data.split(b" ")[1]
    return [] if target.startswith((b"/", b"*")) else [target]


def _lowered(name: str, value: str) -> str:
    """h11 writes Transfer-Encoding in lower case."""
    return value.lower() if name == "transfer-encoding" else value


def test_the_corpus_is_large_enough() -> None:
    """And no attack is its own twin."""
    assert len(CASES) >= 250
    assert all(case.attack != case.twin for case in CASES)
    assert len({(case.section, case.attack) for case in CASES}) == len(CASES)
