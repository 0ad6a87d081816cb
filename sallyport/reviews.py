"""`sallyport review`: what waits for people, and deciding it."""

import uuid
from typing import Annotated, Any

import typer

from sallyport.client import connect
from sallyport.output import REFUSED, JsonFlag, emit, fields, table, when

NAME = "review"
app = typer.Typer(help="Reviews: operations that wait for a person.", no_args_is_help=True)

ReviewId = Annotated[str, typer.Argument(help="Id of the review, as the agent and the mail name it.")]


@app.command("list")
def list_reviews(
    state: Annotated[str, typer.Option(help="open, approved, denied, expired, withdrawn, used or finished.")] = "open",
    agent: Annotated[str | None, typer.Option(help="Only reviews of this agent.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show reviews, newest first."""
    reviews = connect("approver").get("/v1/reviews", state=state, agent=agent)["reviews"]
    rows = (
        (
            review["id"],
            review["state"],
            review["agent"],
            review["resource"],
            _short(review["text"]),
            when(review["expires"]),
        )
        for review in reviews
    )
    emit(reviews, as_json=as_json, text=[table(("REVIEW", "STATE", "AGENT", "RESOURCE", "COMMAND", "EXPIRES"), rows)])


@app.command()
def show(review: ReviewId, as_json: JsonFlag = False) -> None:
    """Show one review whole: the exact command, its parameters, the rule, who decided."""
    found = connect("approver").get(f"/v1/reviews/{review}")
    emit(found, as_json=as_json, text=_described(found))


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
    result = connect("approver").post(f"/v1/reviews/{review}/decisions", body)
    missing = result.get("missing", 0)
    more = f" {missing} more needed." if choice == "approve" and missing else ""
    emit(result, as_json=as_json, text=[f"{review}: {result['state']}.{more}"])
    if not result.get("counted", True):
        raise typer.Exit(REFUSED)


def _described(review: dict[str, Any]) -> list[Any]:
    lines: list[Any] = [
        fields(
            {
                "review": review["id"],
                "state": review["state"],
                "agent": review["agent"],
                "resource": review["resource"],
                "rules": ", ".join(review["rules"]),
                "reason": review.get("reason", ""),
                "touches": ", ".join(f"{effect['kind']} {effect['object']}".strip() for effect in review["effects"]),
                "opened": when(review["opened"]),
                "expires": when(review["expires"]),
                "digest": review["digest"],
            }
        ),
        "",
        review["text"],
    ]
    lines += [f"  ${number} = {value}" for number, value in enumerate(review.get("parameters", []), 1)]
    if review.get("rewritten_from"):
        lines += ["", "The agent sent:", review["rewritten_from"]]
    lines += [
        f"{entry['person']}: {entry['choice']} {entry.get('reason', '')}" for entry in review.get("decisions", [])
    ]
    return lines


def _short(text: str, width: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
