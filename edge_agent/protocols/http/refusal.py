"""How HTTP clients are told no, wait, or not now: whole responses with a problem document (RFC 9457).

The status is one that a client's library already knows how to treat. An SDK takes any 2xx for done and repeats 429 and 503 with Retry-After;
so what waits for people is 503, the repetition joins the review, and 202 is said only to a request that prefers it (RFC 7240).
Whether a refusal is the truth, that is whether nothing of the operation takes effect, is the session's task; here are only words.
"""

import json
from http import HTTPStatus

from edge_agent.admitted import INTERNAL_ERROR, POLICY_STALE, RECORDING_UNAVAILABLE
from edge_agent.protocols.http.messages import Headers, response_head
from gateway_kernel.commands import REVIEW_LIMIT, REVIEW_UNAVAILABLE, Refuse

PROBLEM = "application/problem+json"
RETRY_AFTER = 5  # seconds; the repetition is held again, so this is no polling interval

_STATUSES = {
    REVIEW_UNAVAILABLE: 503,
    POLICY_STALE: 503,
    RECORDING_UNAVAILABLE: 503,
    INTERNAL_ERROR: 500,
    "operation-too-large": 413,
    "rate-limit": 429,
    REVIEW_LIMIT: 429,
}
"""What is not 403. A refusal by policy is 403 whatever its reason: 400 would tell a client to mend what it may not send."""

_REPEATABLE = frozenset((429, 503))


def refused(
    refusal: Refuse, base_url: str, *, respond_async: bool = False, bodiless: bool = False, close: bool = False
) -> bytes:
    """The gate's refusal as a response: the rule, its reason, and what can be done.

    `base_url` is where the edge explains its rules, "" if nowhere. `respond_async`: the request prefers 202 to waiting. `bodiless`: it
    was a HEAD. `close`: the connection ends behind it.
    """
    verdict = refusal.verdict
    rules = verdict.rules or ("default",)
    rule = rules[0]
    detail = verdict.reason or f"Rule {', '.join(rules)} does not allow this operation."
    extra: list[tuple[str, str]] = []
    if refusal.held:
        status = 202 if respond_async else 503
        title = "waits for a review"
        hint = f"Send the same request again to join the review. It is shown at {refusal.url}"
        if respond_async:
            extra = [("Preference-Applied", "respond-async"), ("Location", f"/reviews/{refusal.review}")]
    else:
        status = _STATUSES.get(rule, 403)
        title = f"refused by rule {', '.join(rules)}"
        hint = (
            f"The review is shown at {refusal.url}"
            if refusal.url
            else "Ask the policy's owner, or send another request."
        )
    if status in _REPEATABLE or status == 202:
        extra.append(("Retry-After", str(RETRY_AFTER)))
    members: dict[str, object] = {
        "type": f"{base_url.rstrip('/')}/rules/{rule}" if base_url else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "rule": rule,
        "rules": list(rules),
        "hint": hint,
    }
    if refusal.review:
        members["review"] = refusal.review
    if refusal.url:
        members["review_url"] = refusal.url
    return _response(status, members, tuple(extra), bodiless=bodiless, close=close)


def problem(
    status: int, title: str, detail: str, headers: Headers = (), *, bodiless: bool = False, close: bool = False
) -> bytes:
    """What is wrong without a rule: a request that is not HTTP, an unknown resource or key, an upstream that does not answer."""
    if status == 401 and not any(name.lower() == "www-authenticate" for name, _ in headers):
        headers = (("WWW-Authenticate", 'Bearer realm="sallyport"'), *headers)
    members: dict[str, object] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return _response(status, members, headers, bodiless=bodiless, close=close)


def review_state(review: str, state: str, *, bodiless: bool = False) -> bytes:
    """Where a review stands, for the agent whose operation it is about."""
    members: dict[str, object] = {"review": review, "state": state}
    if state in ("open", "approved"):
        members["hint"] = "Send the same request again: it waits, or runs with the approval."
    return _response(200, members, (), bodiless=bodiless, close=False, kind="application/json")


def _response(
    status: int, members: dict[str, object], headers: Headers, *, bodiless: bool, close: bool, kind: str = PROBLEM
) -> bytes:
    body = json.dumps(members, ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"
    head = response_head(
        status,
        HTTPStatus(status).phrase,
        (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            *((name, _one_line(value)) for name, value in headers),
            *((("Connection", "close"),) if close else ()),
        ),
    )
    return head if bodiless else head + body


def _one_line(value: str) -> str:
    """A header value without what a header cannot hold; texts of people and policies come here."""
    return "".join(char if " " <= char <= "~" else "?" for char in value)
