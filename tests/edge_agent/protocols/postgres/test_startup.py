"""What a client may ask for at startup, cancel keys, and the words of refusals."""

from __future__ import annotations

import pytest

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal, startup
from edge_agent.protocols.postgres.cancel import CancelKeys
from edge_agent.protocols.postgres.startup import StartupRefusedError
from gateway_kernel.commands import Refuse
from gateway_kernel.model import Operation
from gateway_kernel.verdict import denial


def accept(minor: int = 0, **parameters: str) -> startup.Accepted:
    return startup.accept(m.Startup(minor, {"user": "bot", "database": "orders-db", **parameters}))


def test_the_database_names_the_resource_and_perhaps_a_database() -> None:
    """`resource` or `resource/database`; without any, the user's name is the resource."""
    assert (accept().resource, accept().database) == ("orders-db", "")
    accepted = accept(database="orders-db/archive")
    assert (accepted.resource, accepted.database) == ("orders-db", "archive")
    assert startup.accept(m.Startup(0, {"user": "bot"})).resource == "bot"


@pytest.mark.parametrize("encoding", ["UTF8", "utf-8", "'utf-8'", "unicode"])
def test_utf8_in_all_its_spellings(encoding: str) -> None:
    """Drivers spell it differently; upstream gets one."""
    parameters = startup.upstream_parameters(
        accept(client_encoding=encoding, DateStyle="ISO"), user="u", database="d", application="a" * 80
    )
    assert parameters["client_encoding"] == "UTF8"
    assert parameters["standard_conforming_strings"] == "on"
    assert parameters["DateStyle"] == "ISO"
    assert len(parameters["application_name"]) == 63


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("client_encoding", "LATIN1"),
        ("search_path", "evil"),
        ("standard_conforming_strings", "off"),
        ("role", "postgres"),
        ("replication", "database"),
        ("session_replication_role", "replica"),
        ("options", "-c search_path=evil"),
        ("options", "-csearch_path=evil"),
        ("options", "--search-path=evil"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-f"),
        ("options", "-c 'x"),
        ("options", "-c client_encoding=LATIN1"),
    ],
)
def test_what_would_change_meaning_is_refused_by_name(name: str, value: str) -> None:
    """Settings at startup pass no gate, so only formatting and time limits stand on the list."""
    with pytest.raises(StartupRefusedError):
        startup.accept(m.Startup(0, {"user": "bot", "database": "orders-db", name: value}))


def test_options_of_the_list_pass() -> None:
    """PGOPTIONS with a time limit works."""
    assert accept(options="-c statement_timeout=5s --lock-timeout=1s").settings == {
        "statement_timeout": "5s",
        "lock_timeout": "1s",
    }
    assert accept(options="").settings == {}


def test_newer_minor_versions_and_protocol_options_are_negotiated() -> None:
    """3.2 is spoken; 3.9 and unknown `_pq_` options are answered with what there is."""
    assert accept(2).negotiation == b""
    raw = startup.accept(m.Startup(9, {"user": "bot", "_pq_.shiny": "1"})).negotiation
    assert raw[0] == m.NEGOTIATE_PROTOCOL_VERSION
    assert raw[5:9] == (2).to_bytes(4)
    assert raw[13:] == b"_pq_.shiny\0"


def test_cancel_keys_reach_their_session_and_only_it() -> None:
    """A key of this worker acts, one of another is forwarded, a wrong or withdrawn one does nothing."""
    forwarded: list[tuple[int, bytes]] = []
    cancelled: list[str] = []
    keys = CancelKeys(3, lambda worker, key: forwarded.append((worker, key)))
    short = keys.issue(100, lambda: cancelled.append("short"), long=False)
    long = keys.issue(100, lambda: cancelled.append("long"), long=True)
    assert (len(short), len(long)) == (4, 32)
    keys.request(m.Cancel(100, short))
    keys.request(m.Cancel(100, long))
    keys.request(m.Cancel(101, short))
    assert cancelled == ["short", "long"]
    other = CancelKeys(4, lambda *_: None).issue(100, lambda: None, long=False)
    keys.request(m.Cancel(100, other))
    assert forwarded == [(4, (100).to_bytes(4) + other)]
    keys.withdraw(100, short)
    keys.request(m.Cancel(100, short))
    assert cancelled == ["short", "long"]


def test_a_refusal_names_rule_reason_and_remedy() -> None:
    """42501 with the rule, or 55000 with the review."""
    operation = Operation("o1", "postgres", "DELETE FROM t")
    fields = m.read_report(refusal.refused(Refuse(operation, denial("no-deletes", "Use the tool."))))
    assert (fields["C"], fields["M"], fields["D"]) == ("42501", "refused by rule no-deletes", "Use the tool.")
    assert fields["H"]
    held = Refuse(operation, denial("review-pending", ""), "R-7", "https://edge/reviews/R-7", held=True)
    fields = m.read_report(refusal.refused(held))
    assert fields["C"] == "55000"
    assert "R-7" in fields["M"]
    assert "https://edge/reviews/R-7" in fields["H"]
    gone = m.read_report(refusal.refused(Refuse(operation, denial("recording-unavailable", "disk full"))))
    assert gone["C"] == "58000"


def test_a_reduced_error_keeps_code_and_constraint() -> None:
    """Everything else could hold a masked value."""
    raw = m.report(
        m.ERROR_RESPONSE, [("S", "ERROR"), ("C", "23514"), ("M", "canary"), ("D", "canary"), ("n", "check_mail")]
    )
    reduced = refusal.reduced(raw)
    assert b"canary" not in reduced
    assert m.read_report(reduced)["n"] == "check_mail"
    assert m.read_report(reduced)["C"] == "23514"
