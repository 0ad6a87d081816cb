"""`sallyport review`: what waits, shown and decided."""

import asyncio
from typing import Any

from function_app.view import Detail
from sallyport.reviews import described
from tests.sallyport.conftest import HOSTILE, Command
from tests.support.control_plane_process import APPROVERS, ControlPlaneProcess, Edge


def test_list_shows_what_waits(as_approver: Command, review: str, edge: Edge):
    """An open review appears, in the table and as JSON, with what it would do."""
    agent = edge.session.agent.name
    shown = as_approver("review", "list", "--agent", agent)
    assert (shown.code, review in shown.out, "delete public.orders" in shown.out) == (0, True, True)
    assert [one["id"] for one in as_approver("review", "list", "--agent", agent, "--json").json] == [review]
    assert as_approver("review", "list", "--agent", agent, "--state", "denied", "--json").json == []
    assert [one["id"] for one in as_approver("review", "list", "--agent", agent, "--state", "any", "--json").json] == [
        review
    ]


def test_an_unknown_state_is_bad_usage(as_approver: Command):
    """The states there are, and exit 2."""
    said = as_approver("review", "list", "--state", "opne")
    assert said.code == 2
    assert "open, approved, denied" in said.error


def test_show_has_the_exact_command(as_approver: Command, review: str, edge: Edge):
    """Command, agent, owner, rule and what the edge asserts."""
    said = as_approver("review", "show", review)
    assert said.code == 0
    for text in (
        "DELETE FROM orders WHERE id = 7",
        edge.session.agent.name,
        "owner@example.com",
        "deletes-need-one",
        "Asserted by edge",
    ):
        assert text in said.out
    assert as_approver("review", "show", review, "--json").json["text"] == "DELETE FROM orders WHERE id = 7"


def test_show_makes_hostile_text_inert(as_approver: Command, control_plane: ControlPlaneProcess, edge: Edge):
    """Controls are shown by number, markup is text, and a second line cannot pass for one of ours."""

    async def ask() -> str:
        _, submitted = await edge.submit(
            HOSTILE.replace("SELECT", "DELETE FROM orders WHERE note =").replace("\nFROM orders", "\nOR id = 1")
        )
        await control_plane.until_judged(submitted.review)
        return submitted.review

    name = asyncio.run(ask())
    said = as_approver("review", "show", name).out
    assert "<U+202E><U+001B>[31m[red]drop[/red]<U+2066>" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "\n    OR id = 1" in said
    as_json = as_approver("review", "show", name, "--json").out
    assert as_json.isascii()
    assert "\x1b" not in as_json


def test_approve_ends_it(as_approver: Command, control_plane: ControlPlaneProcess, review: str):
    """One person suffices here; the decision carries name and reason."""
    said = as_approver("review", "approve", review, "--reason", "seen")
    assert (said.code, said.out) == (0, f"{review}: approved.\n")
    decisions = as_approver("review", "show", review, "--json").json["decisions"]
    assert [(one["person"], one["choice"], one["reason"]) for one in decisions] == [(APPROVERS[0], "approve", "seen")]


def test_approve_says_how_many_more(as_approver: Command, control_plane: ControlPlaneProcess, edge: Edge):
    """Of two people one is there."""

    async def ask() -> str:
        _, submitted = await edge.submit("INSERT INTO orders (id) VALUES (1)")
        await control_plane.until_judged(submitted.review)
        return submitted.review

    name = asyncio.run(ask())
    assert as_approver("review", "approve", name).out == f"{name}: open. 1 more needed.\n"


def test_deny_ends_it(as_approver: Command, review: str):
    """As JSON it is the review; deciding again is refused with the reason."""
    said = as_approver("review", "deny", review, "--reason", "no", "--json")
    assert (said.code, said.json["state"]) == (0, "denied")
    late = as_approver("review", "approve", review)
    assert late.code == 1
    assert late.error.startswith("sallyport: ")


def test_an_administrator_cannot_decide(as_admin: Command, review: str):
    """Deciding takes a person: exit 1, and a word about the key."""
    said = as_admin("review", "approve", review)
    assert said.code == 1
    assert "SALLYPORT_KEY" in said.error


def test_a_review_that_is_not_there(as_approver: Command):
    """Exit 1 and one line, whatever the id holds."""
    for name in ("r-none", "../agents", "a b?c#d"):
        said = as_approver("review", "show", name)
        assert (said.code, said.out) == (1, "")
        assert len(said.error.splitlines()) == 1


def test_show_of_a_request_has_its_body_and_its_digest():
    """As lines of their own, not as a bound value; controls shown by number."""
    found: dict[str, Any] = dict.fromkeys(Detail.__struct_fields__, "")
    found |= dict.fromkeys(("owners", "rules", "effects", "decisions"), ())
    found |= {"labels": {}, "context": {}, "opened": 0, "expires": 0, "protocol": "http", "text": "POST /a\nHost: b\n"}
    found |= {"parameters": [{"position": 1, "value": '{"a":1}', "indented": '{\n  "a": 1\n}'}]}
    lines = [str(each) for each in described(found)]
    assert lines.index('    {"a":1}') < lines.index('    {\n      "a": 1\n    }')
    assert not [each for each in lines if "$1" in each]
    found |= {"parameters": [], "body_digest": "ab" * 32}
    assert any(f"only the digest came: SHA-256 {'ab' * 32}" in str(each) for each in described(found))
    found |= {"parameters": [{"position": 1, "value": "a\x1bb", "indented": ""}]}
    assert "    a<U+001B>b" in described(found)
