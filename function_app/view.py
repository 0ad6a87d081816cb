"""What may be shown of a review: its stored row and the submission, with secrets hidden and everything the edge asserts marked as such."""

import json
from typing import Any

import msgspec

from function_app.composition import Services
from function_app.indented import indented
from function_app.redaction import HIDDEN, redact
from function_app.stores.base import Review
from gateway_kernel.contract import Submission, decode
from gateway_kernel.model import Effect, Instant, Json, Operation, Parameter
from gateway_kernel.review import PersonDecision

LONGEST_PARAMETER = 4096
"""Characters of one parameter that are shown at first."""

WHOLE_PARAMETER = 1 << 20
"""The same where somebody asked for the whole: more than is ever inspected of an HTTP body."""

BODIES = frozenset({"http"})
"""Protocols whose parameter is the body of the operation, not a bound value."""


class ShownParameter(msgspec.Struct, frozen=True):
    """One bound value, or the body of an HTTP request. `value` is readable text; None is NULL. `cut` says that it is only the beginning.

    `indented` is a JSON body laid out for people, "" for anything else: nothing but white space differs.
    """

    position: int
    type: str
    form: str
    value: str | None
    cut: bool = False
    indented: str = ""


class Summary(msgspec.Struct, frozen=True):
    """A review in a list. `text` is the beginning of the command, redacted."""

    id: str
    state: str
    agent: str
    edge: str
    resource: str
    protocol: str
    session: str
    operation: str
    digest: str
    verb: str
    effects: tuple[Effect, ...]
    rules: tuple[str, ...]
    reason: str
    opened: Instant
    expires: Instant
    settled: Instant
    quorum: int
    approvers: tuple[str, ...]
    missing: int
    identical_to: str
    identical_outcome: str
    grant: str
    outcome: str
    alert: str
    judged: bool
    url: str
    text: str


class Detail(Summary, frozen=True):
    """A review with its whole command, redacted. `context` is asserted by the edge; `hidden` says whether secrets were taken out."""

    rewritten_from: str
    parameters: tuple[ShownParameter, ...]
    context: dict[str, str]
    body_digest: str
    size: int
    labels: dict[str, str]
    groups: tuple[str, ...]
    owners: tuple[str, ...]
    eligible: tuple[str, ...]
    decisions: tuple[PersonDecision, ...]
    policy: str
    rule_reason: str
    hidden: bool


def summary(app: Services, review: Review) -> Summary:
    """The review as lists show it."""
    asked = review.asked
    quorum = 0 if asked is None else asked.terms.quorum
    return Summary(
        review.id,
        review.state.value,
        review.agent,
        review.edge,
        review.resource,
        review.protocol,
        review.session,
        review.operation,
        review.digest,
        "" if asked is None else asked.verb,
        () if asked is None else asked.effects,
        () if asked is None else asked.rules,
        review.reason or ("" if asked is None else asked.reason),
        review.opened,
        0 if asked is None else asked.due.expire,
        review.settled,
        quorum,
        review.approvers,
        max(0, quorum - len(review.approvers)),
        review.identical_to,
        review.identical_outcome,
        review.grant,
        review.outcome,
        review.alert,
        asked is not None,
        app.review_url(review.id),
        app.keys.unseal(review.preview, f"{review.id}:preview").decode(),
    )


def detail(
    app: Services,
    review: Review,
    payload: bytes,
    decisions: list[PersonDecision],
    labels: dict[str, str],
    *,
    whole: bool = False,
) -> Detail:
    """The review as those see it who may decide or audit it. `labels` are the registry's; `whole` shows long values to their end."""
    submission = decode(payload, Submission)
    operation, original, asked = submission.operation, submission.original, review.asked
    text = redact(operation.text)
    shown: dict[str, Any] = msgspec.structs.asdict(summary(app, review))
    shown["text"] = text
    parameters = shown_parameters(operation, WHOLE_PARAMETER if whole else LONGEST_PARAMETER)
    return Detail(
        **shown,
        rewritten_from=redact(original.text) if original is not None and original.text != operation.text else "",
        parameters=parameters,
        context=_context(operation),
        body_digest=operation.body_digest,
        size=operation.size,
        labels=labels,
        groups=submission.session.agent.groups,
        owners=() if asked is None else asked.owners,
        eligible=() if asked is None else tuple(dict.fromkeys(asked.eligible + asked.escalated)),
        decisions=tuple(decisions),
        policy=submission.policy if asked is None else asked.policy,
        rule_reason="" if asked is None else asked.reason,
        hidden=text != operation.text or any(HIDDEN in (one.value or "") for one in parameters),
    )


def shown_parameters(operation: Operation, limit: int) -> tuple[ShownParameter, ...]:
    """Its values or its body, at most so many characters of each."""
    body = operation.protocol in BODIES
    return tuple(_parameter(at, one, limit, body=body) for at, one in enumerate(operation.parameters, 1))


def _parameter(position: int, parameter: Parameter, limit: int, *, body: bool) -> ShownParameter:
    value = None if parameter.value is None else redact(readable(parameter))
    if value is not None and len(value) > limit:
        value = f"{value[:limit]}… ({len(value)} characters in all)"
        return ShownParameter(position, parameter.type, parameter.form, value, cut=True)
    laid_out = indented(value) if body and value and parameter.form == "text" else ""
    return ShownParameter(position, parameter.type, parameter.form, value, indented=laid_out)


def readable(parameter: Parameter) -> str:
    """A value for people. Binary is hexadecimal, and besides that whatever it plainly reads as: the type says which reading holds."""
    value = parameter.value or b""
    if parameter.form == "text":
        return value.decode("utf-8", "backslashreplace")
    readings = [f"0x{value.hex()}" if value else "(empty)"]
    if len(value) in (1, 2, 4, 8):
        readings.append(f"as an integer {int.from_bytes(value, 'big', signed=True)}")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if text and text.isprintable():
        readings.append(f"as text {text!r}")
    return ", ".join(readings)


def _context(operation: Operation) -> dict[str, str]:
    """What the edge asserts, one line each. The catalogue is left out: it is long, and the digest covers it."""
    return {key: redact(_line(value)) for key, value in operation.context.items() if key != "catalogue"}


def _line(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
