"""`sallyport review`: what waits for people, and deciding it."""

import uuid
from typing import Annotated, Any

import typer

from gateway_kernel.review import State
from sallyport.client import connect, part
from sallyport.output import BAD_USAGE, JsonFlag, block, emit, fail, fields, line, table, when

NAME = "review"
ANY = "any"
HTTP = "http"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

ReviewId = Annotated[str, typer.Argument(help="Id of the review, as the agent and the mail name it.")]


@app.command("list")
def list_reviews(
    state: Annotated[str, typer.Option(help=f"{', '.join(State)} or {ANY}.")] = State.OPEN,
    agent: Annotated[str | None, typer.Option(help="Only reviews of this agent.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=200)] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show reviews, newest first."""
    if state not in (*State, ANY):
        raise fail(f"--state {state!r}: there are {', '.join(State)} and {ANY}", BAD_USAGE)
    wanted = None if state == ANY else state
    reviews = connect("approver").get("/v1/reviews", state=wanted, agent=agent, limit=limit)["reviews"]
    rows = (
        (
            review["id"],
            review["state"],
            review["agent"],
            review["resource"],
            _touches(review),
            when(review["expires"]),
        )
        for review in reviews
    )
    emit(reviews, as_json=as_json, text=[table(("REVIEW", "STATE", "AGENT", "RESOURCE", "WOULD", "EXPIRES"), rows)])


@app.command()
def show(review: ReviewId, as_json: JsonFlag = False) -> None:
    """Show one review whole: the exact command, its parameters, the rule, who decided."""
    found = connect("approver").get(f"/v1/reviews/{part(review)}", full=1)
    emit(found, as_json=as_json, text=described(found))


@app.command()
def approve(
    review: ReviewId,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Approve exactly this command, once."""
    _decide(review, "approve", reason, as_json)


@app.command()
def deny(
    review: ReviewId,
    reason: Annotated[str, typer.Option(help="Why: the agent is told.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Deny this command."""
    _decide(review, "deny", reason, as_json)


def _decide(review: str, choice: str, reason: str, as_json: bool) -> None:
    body = {"id": uuid.uuid4().hex, "choice": choice, "reason": reason}
    result = connect("approver").post(f"/v1/reviews/{part(review)}/decisions", body)
    missing = result.get("missing", 0)
    more = f" {missing} more needed." if choice == "approve" and missing else ""
    emit(result, as_json=as_json, text=[f"{review}: {result['state']}.{more}"])


def described(review: dict[str, Any]) -> list[Any]:
    """A review for a terminal."""
    facts = {
        "review": review["id"],
        "state": review["state"],
        "agent": review["agent"],
        "owners": ", ".join(review["owners"]),
        "resource": review["resource"],
        "labels": ", ".join(f"{name}={value}" for name, value in review["labels"].items()),
        "rules": ", ".join(review["rules"]),
        "reason": review["rule_reason"],
        "would": _touches(review),
        "opened": when(review["opened"]),
        "expires": when(review["expires"]),
        "digest": review["digest"],
        "identical to": " ".join(filter(None, (review["identical_to"], review["identical_outcome"]))),
        "alert": review["alert"],
    }
    lines: list[Any] = [
        fields({name: value for name, value in facts.items() if value}),
        "",
        block(review["text"].removesuffix("\n")),
    ]
    for one in review["parameters"]:
        lines += _body(one) if review["protocol"] == HTTP else [_bound(one)]
    if review["body_digest"]:
        lines += ["", f"    and a body of which only the digest came: SHA-256 {review['body_digest']}"]
    if review["hidden"]:
        lines += ["", "Secrets in it are not shown."]
    if review["rewritten_from"]:
        lines += ["", "The agent sent:", block(review["rewritten_from"])]
    asserted = [line(f"    {name}: {value}") for name, value in review["context"].items()]
    lines += ["", f"Asserted by edge {review['edge']}:", *asserted] if asserted else []
    lines += [line(f"{one['person']}: {one['choice']} {one['reason']}".rstrip()) for one in review["decisions"]]
    return lines


def _touches(review: dict[str, Any]) -> str:
    return ", ".join(f"{effect['kind']} {effect['object']}".strip() for effect in review["effects"]) or review["verb"]


def _bound(one: dict[str, Any]) -> str:
    return line(f"    ${one['position']} = {'NULL' if one['value'] is None else one['value']}")


def _body(one: dict[str, Any]) -> list[str]:
    """The exact body, and below it JSON laid out for people."""
    lines = ["", block(one["value"] or "(an empty body)")]
    return [*lines, "", "Laid out, only white space differs:", block(one["indented"])] if one["indented"] else lines
