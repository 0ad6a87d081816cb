"""The pages for approvers: inbox, review, signing in and out, single-use links.

GET decides nothing, whoever fetches it (mail scanners follow links). An agent gets the state of its review here, as JSON if it
asks for that, and neither the command nor any capability.
"""

import functools
import re
import secrets
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import azure.durable_functions as df
import azure.functions as func

from function_app import links, view
from function_app.access import NOBODY, Call, endpoint, reply
from function_app.blueprints.reviews import decide, detailed, existing
from function_app.composition import Services
from function_app.pages.render import STATIC, page, redirect
from function_app.pages.signing_in import Browser, browser, require_same_origin, sign_in, sign_out
from function_app.pages.text import LONGEST
from function_app.stores.base import Review, StoreError
from gateway_kernel.review import Choice, State

INBOX = 50
LARGEST_FORM = 64 * 1024
_OURS = re.compile(r"/reviews(/[A-Za-z0-9]{1,64})?")

blueprint = df.Blueprint()


def paged(
    handler: Callable[[Call], Awaitable[func.HttpResponse]],
) -> Callable[[Call], Awaitable[func.HttpResponse]]:
    """Answer a refusal with a page instead of a problem document."""

    @functools.wraps(handler)
    async def answer(call: Call) -> func.HttpResponse:
        try:
            return await handler(call)
        except StoreError as error:
            return _message(
                error.kind.replace("-", " ").capitalize(), str(error), error.status, "/reviews", "All reviews"
            )

    return answer


@endpoint(blueprint, "inbox_page")
@paged
async def inbox_page(call: Call) -> func.HttpResponse:
    """All reviews, newest first; those that wait for this person are marked."""
    who = await browser(call)
    if who.principal is NOBODY:
        return redirect("/sign-in?next=/reviews")
    app, after = call.services, call.query("after")
    reviews = await app.store.reviews.listed(state="", agent="", limit=INBOX, after=after)
    rows = [
        {
            "summary": view.summary(app, review),
            "left": _left(app, review),
            "mine": review.state is State.OPEN and not why_not(app, review, who.principal.name),
        }
        for review in reviews
    ]
    rows.sort(key=lambda row: not row["mine"])
    older = reviews[-1].id if len(reviews) == INBOX else ""
    return page("inbox.html", rows=rows, after=older, person=who.principal.name, form_token=who.form_token)


@endpoint(blueprint, "review_page")
@paged
async def review_page(call: Call) -> func.HttpResponse:
    """For signed-in approvers the whole review; for anybody else, agents too, its state."""
    app = call.services
    wants_json = "application/json" in call.header("accept") and "text/html" not in call.header("accept")
    try:
        review = await existing(app, call.path("review"))
    except StoreError as error:
        if wants_json:
            return reply({"error": str(error)}, error.status)
        raise
    if wants_json:
        expires = 0 if review.asked is None else review.asked.due.expire
        return reply({"review": review.id, "state": review.state, "expires": expires, "url": app.review_url(review.id)})
    who = await browser(call)
    if who.principal is NOBODY:
        return page("state.html", review=review, left=_left(app, review), person="", form_token="")
    return await _shown(call, review, who.principal.name, f"/reviews/{review.id}/decide", who.form_token, who)


@endpoint(blueprint, "decide_page")
@paged
async def decide_page(call: Call) -> func.HttpResponse:
    """The form of the review page."""
    require_same_origin(call)
    form = _form(call)
    who = await browser(call)
    if who.principal is NOBODY:
        return redirect(f"/sign-in?next={_local('/reviews/' + call.path('review'))}")
    who.require_form_token(form.get("form", ""))
    review = await decide(
        call.services,
        call.client,
        call.path("review"),
        who.principal.name,
        form.get("id", ""),
        _choice(form),
        form.get("reason", ""),
    )
    return redirect(f"/reviews/{review.id}")


@endpoint(blueprint, "link_page")
@paged
async def link_page(call: Call) -> func.HttpResponse:
    """Where a link in a message leads: to a page that asks, where the policy lets a link decide, else to signing in."""
    review, person = await _linked(call)
    if not _link_decides(review):
        return redirect(f"/sign-in?next=/reviews/{review.id}")
    token = call.path("token")
    form_token = call.services.keys.mac("link-form", token)
    return await _shown(call, review, person, f"/reviews/{review.id}/links/{token}", form_token, None)


@endpoint(blueprint, "decide_by_link")
@paged
async def decide_by_link(call: Call) -> func.HttpResponse:
    """The form of that page; the link is used up."""
    require_same_origin(call)
    form, token = _form(call), call.path("token")
    review, person = await _linked(call)
    if not _link_decides(review):
        raise StoreError("sign-in-needed", 403, "A link alone does not decide this review; sign in.")
    if not call.services.keys.mac_holds(form.get("form", ""), "link-form", token):
        raise StoreError("bad-form", 403, "This form was not made for this link. Open the link again.")
    decided = await decide(
        call.services,
        call.client,
        review.id,
        person,
        form.get("id", ""),
        _choice(form),
        form.get("reason", ""),
        links.token_hash(token),
    )
    return _message("Thank you", f"Your decision is stored. The review is {decided.state}.", 200, "", "")


@endpoint(blueprint, "sign_in_page")
async def sign_in_page(call: Call) -> func.HttpResponse:
    return page("sign_in.html", next=_local(call.query("next")), problem="", person="", form_token="")


@endpoint(blueprint, "sign_in")
@paged
async def sign_in_form(call: Call) -> func.HttpResponse:
    """Take an approver key and give a cookie."""
    require_same_origin(call)
    form = _form(call)
    target = _local(form.get("next", ""))
    try:
        cookie = await sign_in(call.services, form.get("key", ""))
    except StoreError as error:
        return page("sign_in.html", error.status, next=target, problem=str(error), person="", form_token="")
    return redirect(target, cookie)


@endpoint(blueprint, "sign_out")
@paged
async def sign_out_form(call: Call) -> func.HttpResponse:
    require_same_origin(call)
    who = await browser(call)
    if who.identifier:
        who.require_form_token(_form(call).get("form", ""))
    return redirect("/sign-in", await sign_out(call.services, who))


@endpoint(blueprint, "static_file")
async def static_file(call: Call) -> func.HttpResponse:
    """The style sheet. Only files that stood there at start are served."""
    path = STATIC.get(call.path("file"))
    if path is None:
        return func.HttpResponse(status_code=404)
    headers = {"Cache-Control": "public, max-age=3600", "X-Content-Type-Options": "nosniff"}
    return func.HttpResponse(path.read_bytes(), mimetype="text/css", headers=headers)


def why_not(app: Services, review: Review, person: str) -> str:
    """Why this person has nothing to decide here; "" if it has."""
    asked = review.asked
    if review.state is not State.OPEN:
        return f"This review is {review.state}."
    if asked is None:
        return "This review is still being judged; load the page again in a moment."
    if person in asked.owners and not asked.terms.owners_may_approve:
        return "You own the agent that asks, so somebody else has to decide."
    if person in asked.eligible:
        return "You have approved already." if person in review.approvers else ""
    if person in asked.escalated:
        due = asked.due.escalate
        return "" if due is not None and app.now() >= due else "You are asked only if nobody else decides in time."
    return f"The policy asks others to decide this: {', '.join(asked.terms.approvers)}."


async def _shown(
    call: Call, review: Review, person: str, action: str, form_token: str, who: Browser | None
) -> func.HttpResponse:
    app = call.services
    full = call.query("full") == "1"
    shown = await detailed(app, review, whole=full)
    command = shown.text if full else shown.text[:LONGEST]
    refusal = why_not(app, review, person)
    return page(
        "review.html",
        summary=shown,
        detail=shown,
        command=command,
        truncated=len(command) < len(shown.text),
        bodies=shown.parameters if shown.protocol in view.BODIES else (),
        values=() if shown.protocol in view.BODIES else shown.parameters,
        full_link=f"{'/reviews/' + review.id if who else action}?full=1",
        left=_left(app, review),
        may_decide=not refusal,
        why_not=refusal,
        action=action,
        form_token=form_token,
        decision_id=secrets.token_hex(8),
        person="" if who is None else person,
    )


async def _linked(call: Call) -> tuple[Review, str]:
    review = await existing(call.services, call.path("review"))
    person = await links.person_of(call.services, review.id, call.path("token"))
    if not person:
        raise StoreError(
            "link-used", 410, "This link was used already, has expired, or is not for this review. Sign in to decide."
        )
    return review, person


def _link_decides(review: Review) -> bool:
    return review.asked is not None and review.asked.terms.link_decides


def _left(app: Services, review: Review) -> int:
    return 0 if review.asked is None else max(0, (review.asked.due.expire - app.now()) // 1_000_000)


def _form(call: Call) -> dict[str, str]:
    """The fields of a form, the last of each name; `StoreError` if it is not one."""
    if len(call.body) > LARGEST_FORM or not call.header("content-type").startswith("application/x-www-form-urlencoded"):
        raise StoreError("bad-form", 422, "This is not a form of ours.")
    try:
        return {
            name: values[-1]
            for name, values in parse_qs(call.body.decode("ascii"), keep_blank_values=True, max_num_fields=20).items()
        }
    except ValueError as error:
        raise StoreError("bad-form", 422, "This form does not read.") from error


def _choice(form: dict[str, str]) -> Choice:
    try:
        return Choice(form.get("choice", ""))
    except ValueError as error:
        raise StoreError("bad-form", 422, "Choose to approve or to deny.") from error


def _local(path: str) -> str:
    """A path of ours, whatever was asked: signing in never leads to another site."""
    return path if _OURS.fullmatch(path) else "/reviews"


def _message(title: str, text: str, status: int, link: str, link_text: str) -> func.HttpResponse:
    return page(
        "message.html", status, title=title, text=text, link=link, link_text=link_text, person="", form_token=""
    )
