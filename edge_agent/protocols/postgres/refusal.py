"""How PostgreSQL clients are told no, wait, or goodbye: ErrorResponse and NoticeResponse in the server's own form.

SQLSTATEs are those a driver already knows how to treat (PostgreSQL documentation, appendix A). Whether a refusal is the truth, that
is whether nothing of the operation takes effect, is the session's task; here are only words.
"""

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.commands import REVIEW_LIMIT, REVIEW_UNAVAILABLE, Refuse
from gateway_kernel.judge import UNREADABLE
from gateway_kernel.parse.sql.effects import UNKNOWN_NAME
from gateway_kernel.parse.sql.tree import UnparsedError, parsed

INSUFFICIENT_PRIVILEGE = "42501"
SYNTAX_ERROR = "42601"
NOT_IN_PREREQUISITE_STATE = "55000"
QUERY_CANCELED = "57014"
ADMIN_SHUTDOWN = "57P01"
CANNOT_CONNECT_NOW = "57P03"
WRONG_PASSWORD = "28P01"  # noqa: S105 (an SQLSTATE)
INVALID_AUTHORIZATION = "28000"
TOO_MANY_CONNECTIONS = "53300"
LIMIT_EXCEEDED = "53400"
PROGRAM_LIMIT_EXCEEDED = "54000"
PROTOCOL_VIOLATION = "08P01"
CONNECTION_FAILURE = "08006"
SYSTEM_ERROR = "58000"
IN_FAILED_TRANSACTION = "25P02"
INVALID_STATEMENT_NAME = "26000"
INVALID_CURSOR_NAME = "34000"
CHARACTER_NOT_IN_REPERTOIRE = "22021"
FEATURE_NOT_SUPPORTED = "0A000"

_STATES = {
    REVIEW_UNAVAILABLE: SYSTEM_ERROR,
    REVIEW_LIMIT: LIMIT_EXCEEDED,
    "recording-unavailable": SYSTEM_ERROR,
    "policy-stale": SYSTEM_ERROR,
}


def error(code: str, text: str, *, detail: str = "", hint: str = "", severity: str = "ERROR") -> bytes:
    """One ErrorResponse; severity FATAL ends the connection, and the caller closes it."""
    fields = (("S", severity), ("V", severity), ("C", code), ("M", text), ("D", detail), ("H", hint))
    return m.report(m.ERROR_RESPONSE, fields)


def fatal(code: str, text: str, *, detail: str = "", hint: str = "") -> bytes:
    return error(code, text, detail=detail, hint=hint, severity="FATAL")


def notice(text: str, *, detail: str = "", hint: str = "") -> bytes:
    fields = (("S", "NOTICE"), ("V", "NOTICE"), ("C", "00000"), ("M", text), ("D", detail), ("H", hint))
    return m.report(m.NOTICE_RESPONSE, fields)


def refused(refusal: Refuse) -> bytes:
    """The gate's refusal: the rule in DETAIL, what can be done in HINT."""
    verdict = refusal.verdict
    if verdict.rules == (UNREADABLE,) and (complaint := _complaint(refusal.operation.text, verdict.reason)):
        return complaint
    rules = ", ".join(verdict.rules) or "default"
    if refusal.held:
        return error(
            NOT_IN_PREREQUISITE_STATE,
            f"operation waits for a review: {refusal.review}",
            detail=f"Rule {rules}. {verdict.reason}".strip(),
            hint=f"Send the same operation again to join the review. It is shown at {refusal.url}",
        )
    hint = (
        f"The review is shown at {refusal.url}" if refusal.url else "Ask the policy's owner, or send another statement."
    )
    return error(
        _STATES.get(verdict.rules[0] if verdict.rules else "", INSUFFICIENT_PRIVILEGE),
        f"refused by rule {rules}",
        detail=verdict.reason or f"Rule {rules} does not allow this operation.",
        hint=hint,
    )


def _complaint(text: str, problem: str) -> bytes:
    """What PostgreSQL itself says of a text that can never run: one its grammar refuses, or a name it does not know. Empty for any other."""
    try:
        tree = parsed(text)
    except UnparsedError as unparsed:
        if unparsed.complaint:
            fields = [("S", "ERROR"), ("V", "ERROR"), ("C", SYNTAX_ERROR), ("M", unparsed.complaint)]
            fields += [("P", str(unparsed.position))] if unparsed.position else []
            return m.report(m.ERROR_RESPONSE, fields)
        return b""
    if len(tree.stmts) != 1 or not problem.startswith(UNKNOWN_NAME):
        return b""
    statement = tree.stmts[0].stmt
    if statement.WhichOneof("node") == "execute_stmt":
        return error(INVALID_STATEMENT_NAME, f'prepared statement "{statement.execute_stmt.name}" does not exist')
    if statement.WhichOneof("node") == "fetch_stmt":
        return error(INVALID_CURSOR_NAME, f'cursor "{statement.fetch_stmt.portalname}" does not exist')
    return b""


def waiting(review: str, url: str) -> bytes:
    """Sent at once and every 30 seconds while people are asked."""
    return notice(f"operation waits for review {review}", hint=f"It is shown at {url}")


def reduced(raw: bytes) -> bytes:
    """An ErrorResponse or NoticeResponse that touches a masked relation: severity, SQLSTATE and the constraint's name only."""
    fields = m.read_report(raw)
    if fields.get("C", "").startswith("42") and "P" in fields and "W" not in fields:
        return raw  # raised while the statement itself was analysed: it quotes the statement and names, never a row
    return m.report(
        raw[0],
        (
            ("S", fields.get("S", "ERROR")),
            ("V", fields.get("V", "")),
            ("C", fields.get("C", "XX000")),
            ("M", "the server's message is withheld: a masked relation is involved"),
            ("n", fields.get("n", "")),
        ),
    )
