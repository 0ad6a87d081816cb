"""The pages for approvers: no script, no capability for agents, GET decides nothing, hostile text inert."""

import json
import re
import secrets
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from function_app import view
from function_app.indented import indented
from function_app.pages.render import page
from function_app.pages.text import LONGEST, highlighted, oddities, visible
from function_app.view import Detail
from gateway_kernel.model import Operation, Parameter
from tests.support.control_plane_process import APPROVERS, OWNER, ControlPlaneProcess, Edge, Reply

ANN, BOB, CAROL = APPROVERS
DELETE = "DELETE FROM orders WHERE id = 7"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Elements(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def field(self, name: str) -> str:
        """The value of the first input of that name."""
        return next(attrs["value"] or "" for tag, attrs in self.tags if tag == "input" and attrs.get("name") == name)


async def signed_in(plane: ControlPlaneProcess, person: str) -> str:
    """The Cookie header of a person who has signed in."""
    reply = await post(plane, "/sign-in", {"key": plane.people[person], "next": "/reviews"})
    assert (reply.status, reply.headers["location"]) == (303, "/reviews")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    return cookie.split(";")[0]


async def post(
    plane: ControlPlaneProcess, path: str, fields: dict[str, str], cookie: str = "", **headers: str
) -> Reply:
    sent = FORM | ({"Cookie": cookie} if cookie else {}) | headers
    return await plane.call("POST", path, data=urlencode(fields).encode(), headers=sent)


async def opened(plane: ControlPlaneProcess, edge: Edge, text: str = DELETE, *parameters: Parameter) -> str:
    _, submitted = await edge.submit(text, *parameters)
    await plane.until_judged(submitted.review)
    return submitted.review


async def link_of(plane: ControlPlaneProcess, review: str, person: str) -> str:
    """The path of the link that this person was sent."""
    await plane.until(review, lambda _: any(outbox(plane).glob(f"{review}-opened-*.json")))
    for path in outbox(plane).glob(f"{review}-opened-*.json"):
        message = msgspec.json.decode(path.read_bytes())
        if person in message["links"]:
            return str(message["links"][person]).removeprefix(plane.url)
    raise AssertionError(f"{person} was sent nothing about {review}")


def outbox(plane: ControlPlaneProcess) -> Path:
    return plane.directory / "data" / "outbox"


async def test_an_approver_reads_and_decides_in_a_browser(control_plane: ControlPlaneProcess):
    """Sign in, inbox, review, approve: every step a plain form, under a policy that allows no script."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge, "DELETE FROM orders WHERE id = $1", Parameter("int4", b"7"))
    assert (await control_plane.call("GET", "/reviews")).headers["location"] == "/sign-in?next=/reviews"
    cookie = await signed_in(control_plane, ANN)
    inbox = await control_plane.call("GET", "/reviews", headers={"Cookie": cookie})
    assert f"/reviews/{review}" in inbox.text
    assert "waits for you" in inbox.text
    page = await control_plane.call("GET", f"/reviews/{review}", headers={"Cookie": cookie})
    assert "script" not in {tag for tag, _ in Elements(page.text).tags}
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for shown in (
        "Deletes are looked at.",
        "deletes-need-one",
        "public.orders",
        "env: prod",
        "int4",
        "0 of 1 approval",
    ):
        assert shown in page.text, shown
    assert f"asserted by edge {edge.name}" in page.text
    fields = {name: Elements(page.text).field(name) for name in ("form", "id")}
    done = await post(
        control_plane, f"/reviews/{review}/decide", fields | {"choice": "approve", "reason": "fine"}, cookie
    )
    assert (done.status, done.headers["location"]) == (303, f"/reviews/{review}")
    assert (await control_plane.review(review))["state"] == "approved"


async def test_get_and_head_decide_nothing(control_plane: ControlPlaneProcess):
    """Whatever a mail scanner opens, the review stays open and the link stays good."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge)
    cookie = await signed_in(control_plane, ANN)
    link = await link_of(control_plane, review, ANN)
    for method in ("GET", "HEAD"):
        for path in (f"/reviews/{review}/decide?choice=approve", link, f"{link}?choice=approve"):
            await control_plane.call(method, path, headers={"Cookie": cookie})
    assert (await control_plane.review(review))["state"] == "open"
    assert (await control_plane.call("GET", link)).status == 200


async def test_a_form_of_another_site_or_another_sign_in_is_refused(control_plane: ControlPlaneProcess):
    """CSRF: the form token is bound to the sign-in, and the origin must be ours."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge)
    ann, bob = await signed_in(control_plane, ANN), await signed_in(control_plane, BOB)
    page = await control_plane.call("GET", f"/reviews/{review}", headers={"Cookie": bob})
    fields = {"form": Elements(page.text).field("form"), "id": "x", "choice": "approve"}
    path = f"/reviews/{review}/decide"
    assert (await post(control_plane, path, fields, ann)).status == 403
    assert (await post(control_plane, path, {"id": "x", "choice": "approve"}, bob)).status == 403
    assert (await post(control_plane, path, fields, bob, Origin="https://evil.example")).status == 403
    assert (await post(control_plane, path, fields, bob, **{"Sec-Fetch-Site": "cross-site"})).status == 403
    assert (await post(control_plane, path, fields)).headers["location"].startswith("/sign-in")
    assert (await control_plane.review(review))["state"] == "open"
    assert (await post(control_plane, path, fields, bob, Origin=control_plane.url)).status == 303


async def test_an_agent_sees_the_state_and_nothing_else(control_plane: ControlPlaneProcess):
    """Neither the command nor anything to decide with, with its own key or with none."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge)
    made = await control_plane.admin("POST", f"/v1/agents/{edge.session.agent.name}/keys")
    for key in ("", made["key"]):
        reply = await control_plane.call("GET", f"/reviews/{review}", key=key, headers={"Accept": "application/json"})
        assert set(reply.json) == {"review", "state", "expires", "url"}
        page = await control_plane.call("GET", f"/reviews/{review}", key=key)
        assert "open" in page.text
        assert "orders" not in page.text
        assert "decide" not in page.text
    assert (await post(control_plane, "/sign-in", {"key": made["key"]})).status == 403


async def test_a_link_decides_once_where_the_policy_says_so(control_plane: ControlPlaneProcess):
    """Used up by the decision; good for its own person and review only."""
    edge = await control_plane.new_edge()
    review, other = await opened(control_plane, edge), await opened(control_plane, edge, "DELETE FROM orders")
    link = await link_of(control_plane, review, ANN)
    page = await control_plane.call("GET", link)
    assert DELETE.split(maxsplit=1)[0] in page.text
    fields = {name: Elements(page.text).field(name) for name in ("form", "id")} | {"choice": "approve"}
    foreign = link.replace(review, other)
    assert (await post(control_plane, foreign, fields)).status == 410
    assert (await post(control_plane, link, fields | {"form": "forged"})).status == 403
    assert (await post(control_plane, link, fields)).status == 200
    shown = await control_plane.review(review)
    assert (shown["state"], shown["approvers"]) == ("approved", [ANN])
    assert (await post(control_plane, link, fields)).status == 410
    assert (await control_plane.call("GET", link)).status == 410


async def test_a_link_leads_to_signing_in_where_the_policy_does_not(control_plane: ControlPlaneProcess):
    """Writes ask for two people, and no link decides them."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge, "UPDATE orders SET note = 'x'")
    link = await link_of(control_plane, review, BOB)
    assert (await control_plane.call("GET", link)).headers["location"] == f"/sign-in?next=/reviews/{review}"
    assert (await post(control_plane, link, {"choice": "approve", "id": "x", "form": "x"})).status == 403
    assert (await control_plane.review(review))["approvers"] == []


async def test_the_outbox_never_writes_to_the_owner_of_the_agent(control_plane: ControlPlaneProcess):
    """Who may not decide is not asked."""
    edge = await control_plane.new_edge()
    review = await opened(control_plane, edge)
    await link_of(control_plane, review, ANN)
    asked = {msgspec.json.decode(path.read_bytes())["people"][0] for path in outbox(control_plane).glob(f"{review}-*")}
    assert asked == {ANN, BOB}
    assert OWNER not in asked


async def test_signing_out_and_revoking_the_key_end_a_sign_in(control_plane: ControlPlaneProcess):
    """The cookie alone is nothing."""
    mail = f"p-{secrets.token_hex(3)}@example.com"
    made = await control_plane.admin("POST", "/v1/people", {"person": mail})
    control_plane.people[mail] = made["key"]
    first, second = await signed_in(control_plane, mail), await signed_in(control_plane, mail)

    async def status(cookie: str) -> int:
        return (await control_plane.call("GET", "/reviews", headers={"Cookie": cookie})).status

    assert (await status(first), await status(second)) == (200, 200)
    page = await control_plane.call("GET", "/reviews", headers={"Cookie": first})
    await post(control_plane, "/sign-out", {"form": Elements(page.text).field("form")}, first)
    assert (await status(first), await status(second)) == (303, 200)
    await control_plane.admin("DELETE", f"/v1/people/{mail}/keys/{made['id']}")
    assert await status(second) == 303
    assert await status(second[:-2] + "xx") == 303


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/reviews/../x", "javascript:alert(1)"])
async def test_signing_in_never_leads_to_another_site(control_plane: ControlPlaneProcess, target: str):
    """`next` is one of our own paths or none."""
    reply = await post(control_plane, "/sign-in", {"key": control_plane.people[ANN], "next": target})
    assert reply.headers["location"] == "/reviews"


async def test_hostile_commands_are_inert_and_visible(control_plane: ControlPlaneProcess):
    """Markup is text, reordering characters are named, and a long command says that it was cut."""
    edge = await control_plane.new_edge()
    hostile = "DELETE FROM orders WHERE note = '</pre><script>alert(1)</script>\u202e\u200b'"
    review = await opened(control_plane, edge, hostile)
    cookie = await signed_in(control_plane, ANN)
    page = (await control_plane.call("GET", f"/reviews/{review}", headers={"Cookie": cookie})).text
    assert "script" not in {tag for tag, _ in Elements(page).tags}
    assert "\u202e" not in page
    assert "U+202E" in page
    assert "2 hidden or reordering characters" in page
    long = f"DELETE FROM orders WHERE note = '{'x' * LONGEST}' -- the end"
    review = await opened(control_plane, edge, long)
    page = (await control_plane.call("GET", f"/reviews/{review}", headers={"Cookie": cookie})).text
    assert "the end" not in page
    assert f"/reviews/{review}?full=1" in page
    full = (await control_plane.call("GET", f"/reviews/{review}?full=1", headers={"Cookie": cookie})).text
    assert "the end" in full


async def test_secrets_in_commands_are_hidden_in_every_view_and_encrypted_at_rest(control_plane: ControlPlaneProcess):
    """Invariant 5: pages, API, logs, outbox, and the files of the store."""
    edge = await control_plane.new_edge()
    secret = "AKIA" + "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16))
    github = "ghp_" + "".join(secrets.choice("abcdefghijkmnopqrstuvwxyz") for _ in range(36))
    text = f"DELETE FROM orders WHERE note = 'password=Tr0ub4dor&3xyz {secret} {github}' AND id = $1"
    review = await opened(control_plane, edge, text, Parameter("text", b"api_key = 9f8e7d6c5b4a"))
    cookie = await signed_in(control_plane, ANN)
    page = (await control_plane.call("GET", f"/reviews/{review}?full=1", headers={"Cookie": cookie})).text
    views = [page, str(await control_plane.review(review)), str(await control_plane.admin("GET", "/v1/reviews"))]
    views.append(control_plane.log)
    files = [*(control_plane.directory / "data").rglob("*"), *(control_plane.directory / "host").rglob("*")]
    views += [path.read_bytes().decode("latin-1") for path in files if path.is_file()]
    for hidden in (github, "Tr0ub4dor&3xyz", "9f8e7d6c5b4a"):
        assert not [view[:40] for view in views if hidden in view]
    assert "[secret hidden]" in page


def test_every_hiding_character_is_shown_by_its_number():
    """Bidirectional, zero-width, control, filler, variation and odd space characters."""
    for character in "\u202e\u2066\u200b\u200d\ufeff\u00ad\x00\x1b\r\u2028\u3164\u2800\u00a0\ufe0f\U000e0041":
        marked = f"U+{ord(character):04X}"
        assert marked in visible(f"a{character}b"), marked
        assert character not in highlighted(f"select{character}1", "postgres"), marked
        assert marked in highlighted(f"select{character}1", "no-such-language"), marked
    assert visible("plain\ttext\n") == "plain\ttext\n"
    assert "Letters outside ASCII" in " ".join(oddities("sel\u0435ct"))


def test_markup_in_any_language_is_escaped():
    """Whatever Pygments makes of it."""
    for protocol in ("postgres", "http", "bash", "no-such-language"):
        shown = highlighted("<script>alert('&')</script>", protocol)
        assert "<script" not in shown
        assert re.sub(r"<[^>]+>", "", shown).count("&lt;") == 2


HEAD = "POST /orders/7/refunds?notify=no\nHost: api.example\nContent-Type: application/json\n"


def shown_request(*parameters: Parameter, limit: int = 4096, **asserted: Any) -> str:
    """The review page of an HTTP request."""
    digest = asserted.pop("body_digest", "")
    operation = Operation("o", "http", HEAD, parameters, asserted, digest)
    summary: dict[str, Any] = dict.fromkeys(Detail.__struct_fields__, "")
    summary |= dict.fromkeys(("effects", "rules", "approvers", "groups", "owners", "eligible", "decisions"), ())
    summary |= dict.fromkeys(("opened", "expires", "settled", "quorum", "missing", "size"), 0)
    summary |= {"state": "open", "judged": True, "labels": {}, "protocol": "http", "text": HEAD, "hidden": False}
    summary |= {"parameters": view.shown_parameters(operation, limit), "body_digest": digest}
    summary["context"] = {key: str(value) for key, value in asserted.items()}
    detail = Detail(**summary)
    values: dict[str, Any] = dict.fromkeys(("why_not", "action", "form_token", "decision_id", "person"), "")
    values |= {
        "summary": detail,
        "detail": detail,
        "command": HEAD,
        "truncated": False,
        "full_link": "/reviews/r?full=1",
    }
    values |= {"left": 0, "may_decide": False, "bodies": detail.parameters, "values": ()}
    return page("review.html", **values).get_body().decode()


def test_a_request_is_shown_with_its_body_laid_out_beside_the_exact_bytes():
    """Head in colours, JSON in both forms: what stands twice or is escaped stays to be seen."""
    body = b'{"amount":1,"amount":1e999,"to":"\\u202eAnn","lines":[{"a":[]},{}]}'
    shown = shown_request(Parameter("application/json", body))
    assert '<span class="nf">POST</span> <span class="nn">/orders/7/refunds?notify=no</span>' in shown
    assert '<span class="na">Content-Type</span>' in shown
    assert "err" not in {attrs.get("class") for _, attrs in Elements(shown).tags}
    assert str(visible(body.decode())) in shown
    text = unescape(re.sub(r"<[^>]+>", "", shown))
    assert (
        '{\n  "amount": 1,\n  "amount": 1e999,\n  "to": "\\u202eAnn",\n  "lines": [\n    {\n      "a": []\n    },\n    {}\n  ]\n}'
        in text
    )
    assert "<th>Parameter</th>" not in shown


def test_a_body_that_is_no_json_is_shown_as_it_is():
    """Text made inert, binary as hexadecimal; nothing is laid out."""
    shown = shown_request(Parameter("text/html", b"<script>alert(1)</script>\xe2\x80\xae"))
    assert "script" not in {tag for tag, _ in Elements(shown).tags}
    assert "1 hidden or reordering character" in shown
    assert "U+202E" in shown
    assert "laid out" not in shown
    assert "0xff00" in shown_request(Parameter("image/png", b"\xff\0", "binary"))


def test_a_long_body_says_that_it_goes_on():
    """Nobody approves what was not shown without being told."""
    body = json.dumps({"note": "x" * 5000, "end": "the end"}).encode()
    shown = shown_request(Parameter("application/json", body))
    assert "the end" not in shown
    assert '<a href="/reviews/r?full=1">Show all of it</a> before you decide' in shown
    assert "the end" in shown_request(Parameter("application/json", body), limit=view.WHOLE_PARAMETER)


def test_a_body_that_is_only_a_digest_says_so():
    """With its length, and what an approval then means."""
    shown = shown_request(body_digest="ab" * 32, body="digest", length=70_000_000)
    for part in ("Its body is not shown: only its digest came here", "its length of 70000000 bytes", "ab" * 32):
        assert part in shown


def test_secrets_in_a_body_are_hidden():
    """In both of its forms."""
    shown = shown_request(Parameter("application/json", b'{"password":"Tr0ub4dor&3xyz","id":7}'))
    assert "Tr0ub4dor" not in shown
    assert shown.count("[secret hidden]") == 2


@pytest.mark.parametrize(
    "text", ["", "7", '"a"', "{", '{"a":1} x', "[1,]", "[" * 100_000, "{'a': 1}", "not json", "\ufeff{}"]
)
def test_only_json_objects_and_lists_are_laid_out(text: str):
    """Anything else stays as it is."""
    assert indented(text) == ""


def test_a_layout_is_never_much_longer_than_people_read():
    """Depth times width could fill the memory."""
    assert indented("[" * 900 + ",".join(["1"] * 50_000) + "]" * 900) == ""


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_layout_says_the_same(value: Any):
    """Only white space differs."""
    text = json.dumps(value)
    laid_out = indented(text)
    if isinstance(value, dict | list):
        assert json.loads(laid_out) == value
        assert laid_out == json.dumps(value, indent=2)
