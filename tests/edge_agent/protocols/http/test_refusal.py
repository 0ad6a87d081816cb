"""What an agent is told: a problem document with the rule, its reason and what to do, under a status its library knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_agent.protocols.http import refusal
from edge_agent.protocols.http.messages import ResponseHead
from gateway_kernel.commands import Refuse
from gateway_kernel.model import Operation
from gateway_kernel.verdict import Decision, Verdict, denial
from tests.edge_agent.protocols.http import reading

OPERATION = Operation(id="op", protocol="http", text="DELETE /orders/7\nHost: orders\n")
URL = "https://control/reviews/r-1"


def told(raw: bytes, method: str = "GET") -> tuple[ResponseHead, dict[str, str], dict[str, object]]:
    """(head, its fields in lower case, the problem) of a refusal."""
    whole = reading.response([raw], method)
    assert whole is not None
    assert whole.leftover == b""
    fields = {name.lower(): value for name, value in whole.head.headers}
    assert fields["content-type"] == "application/problem+json"
    assert fields["cache-control"] == "no-store"
    return whole.head, fields, json.loads(whole.body) if whole.body else {}


def test_a_refusal_names_the_rule_its_reason_and_the_remedy() -> None:
    """RFC 9457, with the rule as its type."""
    verdict = Verdict(Decision.DENY, rules=("no-deletes", "prod"), reason="Deletes go through the pipeline.")
    head, _, problem = told(refusal.refused(Refuse(OPERATION, verdict), "https://edge/"))
    assert (head.status, head.reason) == (403, "Forbidden")
    assert problem == {
        "type": "https://edge/rules/no-deletes",
        "title": "refused by rule no-deletes, prod",
        "status": 403,
        "detail": "Deletes go through the pipeline.",
        "rule": "no-deletes",
        "rules": ["no-deletes", "prod"],
        "hint": "Ask the policy's owner, or send another request.",
    }


def test_without_a_rule_the_default_refuses() -> None:
    """And without a base the type is the one that RFC 9457 keeps for this."""
    _, _, problem = told(refusal.refused(Refuse(OPERATION, Verdict(Decision.DENY)), ""))
    assert (problem["rule"], problem["type"]) == ("default", "about:blank")
    assert problem["detail"] == "Rule default does not allow this operation."


@pytest.mark.parametrize(
    ("rule", "status"),
    [
        ("unreadable", 403),
        ("review-denied", 403),
        ("grant-mismatch", 403),
        ("review-unavailable", 503),
        ("policy-stale", 503),
        ("recording-unavailable", 503),
        ("operation-too-large", 413),
        ("rate-limit", 429),
        ("review-limit", 429),
        ("internal-error", 500),
    ],
)
def test_the_status_says_whether_to_repeat(rule: str, status: int) -> None:
    """What passes by itself is 503 or 429 with Retry-After; what does not is neither."""
    head, fields, problem = told(refusal.refused(Refuse(OPERATION, denial(rule, "why")), "https://edge"))
    assert (head.status, problem["status"]) == (status, status)
    assert ("retry-after" in fields) == (status in (503, 429))


def test_every_rule_with_a_status_is_documented() -> None:
    """docs/rules.md knows them all."""
    documented = Path("docs/rules.md").read_text("utf-8")
    statuses = refusal._STATUSES  # pyright: ignore[reportPrivateUsage]
    assert all(f"| `{rule}` |" in documented for rule in statuses)


def test_what_waits_is_to_be_sent_again() -> None:
    """503 with Retry-After, so that a library's retry joins the review."""
    held = Refuse(OPERATION, denial("review-pending", "An owner must look."), "r-1", URL, held=True)
    head, fields, problem = told(refusal.refused(held, "https://edge"))
    assert (head.status, fields["retry-after"]) == (503, str(refusal.RETRY_AFTER))
    assert (problem["review"], problem["review_url"]) == ("r-1", URL)
    assert "Send the same request again" in str(problem["hint"])


def test_what_waits_is_accepted_only_where_that_is_preferred() -> None:
    """RFC 7240: 202 names where the edge tells how the review stands."""
    held = Refuse(OPERATION, denial("review-pending", ""), "r-1", URL, held=True)
    head, fields, _ = told(refusal.refused(held, "", respond_async=True))
    assert (head.status, fields["location"], fields["preference-applied"]) == (202, "/reviews/r-1", "respond-async")
    denied = Refuse(OPERATION, denial("review-denied", "no"), "r-1", URL)
    assert told(refusal.refused(denied, "", respond_async=True))[0].status == 403


def test_a_refusal_of_a_head_request_has_no_body() -> None:
    """Its length is told, its bytes are not; and the connection's end is announced."""
    raw = refusal.refused(Refuse(OPERATION, denial("x", "y")), "", bodiless=True, close=True)
    head, fields, problem = told(raw, "HEAD")
    assert int(fields["content-length"]) > 0
    assert not problem
    assert not head.keep_alive


def test_texts_of_people_cannot_break_the_head() -> None:
    """A reason with line breaks and other scripts stays in the body; a field keeps what a field can hold."""
    held = Refuse(
        OPERATION, denial("review-pending", "été\r\n\r\n<b>\ud800"), "r\r\nSet-Cookie: a=b\u0142", URL, held=True
    )
    _, fields, problem = told(refusal.refused(held, "", respond_async=True))
    assert "set-cookie" not in fields
    assert fields["location"] == "/reviews/r??Set-Cookie: a=b?"
    assert str(problem["detail"]).startswith("été\r\n\r\n<b>")


def test_a_problem_without_a_rule() -> None:
    """A key that nobody knows is asked for; other fields come as given."""
    head, fields, problem = told(refusal.problem(401, "no such agent", "Send a key."))
    assert (head.status, fields["www-authenticate"]) == (401, 'Bearer realm="sallyport"')
    assert problem == {"type": "about:blank", "title": "no such agent", "status": 401, "detail": "Send a key."}
    _, fields, _ = told(refusal.problem(401, "x", "y", (("WWW-Authenticate", "Basic"),)))
    assert fields["www-authenticate"] == "Basic"
    head, fields, _ = told(refusal.problem(504, "x", "y", (("Retry-After", "1"),), close=True))
    assert (head.status, fields["retry-after"], head.keep_alive) == (504, "1", False)
