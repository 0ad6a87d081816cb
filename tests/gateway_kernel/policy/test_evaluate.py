"""The chain: which rules match, what they make together, and what is remembered of it."""

from typing import Any

import msgspec
import pytest

from gateway_kernel.model import Agent, HttpFacts, Operation, Parameter, Resource, SqlFacts
from gateway_kernel.policy.cel import Answer
from gateway_kernel.verdict import Decision, Escalation, Verdict
from tests.gateway_kernel.policy.rules import NOON, operation, policy, request, rule, session

ALLOW = rule("all", "true", "allow")
READS = 'operation.effects.all(e, e.kind == "read")'


def verdict(*rules: str, on: Operation | None = None, **used: Any) -> Verdict:
    return policy(*rules).evaluate(on or operation(), session(**used), NOON)


def test_any_deny_wins_then_review_then_allow():
    """The order of the rules does not matter, the strictest answer does."""
    review = rule("ask", "true", "review", review="{approvers: [dba]}")
    deny = rule("no", "true", "deny", reason="Not here.")
    assert verdict(ALLOW).decision is Decision.ALLOW
    asked = verdict(ALLOW, review)
    assert (asked.decision, asked.rules) == (Decision.REVIEW, ("ask",))
    denied = verdict(ALLOW, review, deny)
    assert (denied.decision, denied.rules, denied.reason) == (Decision.DENY, ("no",), "Not here.")
    assert denied.matched == ("all", "ask", "no")
    assert denied.review is None


def test_nothing_matched_is_the_default():
    """Without a rule that decides, the default speaks under its own name; obligations do not decide."""
    record = rule("keep", "true", "record", record="{responses: full}")
    assert verdict(record).rules == ("default",)
    assert verdict(record).denies
    asking = policy(record, default="default: review\ndefault_review: {approvers: [dba]}")
    asked = asking.evaluate(operation(), session(), NOON)
    assert asked.needs_review
    assert asked.review is not None
    assert asked.review.approvers == ("dba",)


def test_an_error_denies_with_the_rules_id():
    """A condition that cannot be answered denies, even in an allow rule, and says why."""
    denied = verdict(ALLOW, rule("bad", 'resource.labels["env"] == "prod"', "allow"))
    assert (denied.decision, denied.rules) == (Decision.DENY, ("bad",))
    assert "Key not found" in denied.reason
    assert verdict(ALLOW, rule("bad", 'resource.labels["env"] == "prod"', "allow"), labels={"env": "x"}).rules == (
        "all",
    )


def test_optional_indexing_asks_without_error():
    """`labels[?key].orValue()` is false, not an error, where the label is missing."""
    ask = rule("prod", 'resource.labels[?"env"].orValue("") == "prod"', "deny")
    assert verdict(ALLOW, ask).decision is Decision.ALLOW
    assert verdict(ALLOW, ask, labels={"env": "prod"}).decision is Decision.DENY


def test_a_rule_about_another_protocol_does_not_apply():
    """A rule about SQL says nothing about HTTP, in whichever way it asks."""
    rules = [ALLOW, rule("no-where", "!sql.has_where", "deny")]
    assert verdict(*rules).rules == ("no-where",)
    assert verdict(*rules, on=request()).rules == ("all",)


def test_what_is_true_without_the_missing_family_still_counts():
    """A deny whose other half holds is not lost because the protocol has no SQL."""
    deny = rule("no", 'sql.has_where || operation.verb == "GET"', "deny")
    assert verdict(ALLOW, deny, on=request()).rules == ("no",)
    allow = rule("yes", 'sql.has_where || operation.verb == "PUT"', "allow")
    assert verdict(allow, on=request()).rules == ("default",)


def test_masks_combine_to_the_stricter():
    """The same column under two rules gets the stricter strategy and filter, detectors the stricter strategy."""
    one = rule(
        "a", "true", "mask", mask="[{columns: [t.a, t.b], with: partial, filter: deny}, {detect: [iban], with: hash}]"
    )
    other = rule(
        "b", "true", "mask", mask="[{columns: [t.a], with: null, filter: allow}, {detect: [iban], with: token}]"
    )
    obligations = verdict(ALLOW, one, other).obligations
    assert {(m.columns, m.strategy, m.filter, m.rule) for m in obligations.columns} == {
        (("t.a",), "null", "deny", "b"),
        (("t.b",), "partial", "deny", "a"),
    }
    assert [(m.detect, m.strategy, m.rule) for m in obligations.detect] == [(("iban",), "hash", "a")]


def test_rewrites_combine_to_the_stricter():
    """The smaller limit, read-only if any rule says so; obligations hold whatever the decision."""
    one = rule("a", "true", "rewrite", rewrite="{limit: 100}")
    other = rule("b", "true", "rewrite", rewrite="{limit: 10, read_only: true}")
    rewrite = verdict(one, other).obligations.rewrite
    assert rewrite is not None
    assert (rewrite.limit, rewrite.read_only, rewrite.rule) == (10, True, "a")


def test_rewrites_that_contradict_each_other_deny():
    """Two rules that would run different texts cannot both be obeyed."""
    one = rule("a", "true", "rewrite", rewrite="{replace: SELECT 1}")
    other = rule("b", "true", "rewrite", rewrite="{replace: SELECT 2}")
    assert verdict(ALLOW, one, other).rules == ("b",)
    assert verdict(ALLOW, one, one.replace("id: a", "id: c")).rules == ("all",)


def test_the_most_is_recorded():
    """Of several record rules the one that keeps the most holds; without any, the digest."""
    head, full = (rule(name, "true", "record", record=f"{{responses: {name}}}") for name in ("head", "full"))
    assert verdict(ALLOW).obligations.responses == "digest"
    assert verdict(ALLOW, head, full).obligations.responses == "full"


def test_several_reviews_need_a_person_of_each():
    """Approvers must be eligible under every review rule; quorum, time and reminders are the strictest."""
    one = rule(
        "a",
        "true",
        "review",
        review="{approvers: [dba], quorum: 1, expires: 2h, remind: 30m, owners_may_approve: true}",
    )
    other = rule("b", "true", "review", review="{approvers: [sec], quorum: 2, expires: 1h}")
    both = policy(one, other)
    terms = both.evaluate(operation(), session(), NOON).review
    assert terms is not None
    assert (terms.approvers, terms.quorum, terms.expires, terms.remind) == (("dba & sec",), 2, 3600, 1800)
    assert not terms.owners_may_approve
    assert both.people(terms, escalated=False) == {"bob@example.com"}


def test_escalation_adds_people():
    """People are in lower case; after the escalation its groups are asked as well."""
    asking = policy(rule("a", "true", "review", review="{approvers: [dba], escalate: {after: 1h, approvers: [sec]}}"))
    terms = asking.evaluate(operation(), session(), NOON).review
    assert terms is not None
    assert terms.escalate == Escalation(3600, ("sec",))
    assert asking.people(terms, escalated=False) == {"ann@example.com", "bob@example.com"}
    assert "cy@example.com" in asking.people(terms, escalated=True)


def test_escalations_of_two_rules_stay_within_both():
    """An escalated person must be eligible under both rules too."""
    one = rule("a", "true", "review", review="{approvers: [dba], escalate: {after: 10m, approvers: [sec]}}")
    other = rule("b", "true", "review", review="{approvers: [sec], escalate: {after: 20m, approvers: [dba]}}")
    both = policy(one, other)
    terms = both.evaluate(operation(), session(), NOON).review
    assert terms is not None
    assert both.people(terms, escalated=False) == {"bob@example.com"}
    assert both.people(terms, escalated=True) == {"ann@example.com", "bob@example.com", "cy@example.com"}
    assert terms.escalate is not None
    assert terms.escalate.after == 1200


def test_entra_groups_stay_as_they_are():
    """A group id of Entra is handed on for whoever can resolve it."""
    entra = "6F9619FF-8b86-d011-b42d-00cf4fc964ff"
    asking = policy(rule("a", "true", "review", review="{approvers: [x]}"), groups=f"groups: {{x: {entra}}}")
    terms = asking.evaluate(operation(), session(), NOON).review
    assert terms is not None
    assert asking.people(terms, escalated=False) == {entra}


def test_a_cap_speaks_once_it_is_used_up():
    """Below the limit a cap says nothing; at it, the verdict is the one it names."""
    capped = policy(
        ALLOW, rule("budget", "true", "cap", cap="{quantity: rows_read, limit: 100, per: agent, window: 1h}")
    )
    (limit,) = capped.caps
    assert (limit.key, limit.limit, limit.rule) == ("agent:rows_read:3600", 100, "budget")
    assert capped.evaluate(operation(), session(usage={limit.key: 99}), NOON).rules == ("all",)
    spent = capped.evaluate(operation(), session(usage={limit.key: 100}), NOON)
    assert (spent.decision, spent.rules) == (Decision.DENY, ("budget",))
    assert spent.reason == "The agent has used up its 100 rows read in 1h."


def test_a_cap_may_ask_a_person():
    """`then: review` opens a review under the cap's own terms."""
    ask = "{quantity: operations, limit: 0, then: review, review: {approvers: [dba]}}"
    asked = verdict(ALLOW, rule("budget", "true", "cap", cap=ask))
    assert asked.needs_review
    assert asked.rules == ("budget",)


def test_a_cap_on_reviews_is_about_reviews():
    """An agent with too many open reviews may still do what needs none."""
    rules = [
        rule("reads", READS, "allow"),
        rule("ask", f"!{READS}", "review", review="{approvers: [dba]}"),
        rule("few", "true", "cap", cap="{quantity: reviews, limit: 2}"),
    ]
    used = {"session:reviews:0": 2}
    assert verdict(*rules, usage=used).rules == ("reads",)
    denied = verdict(*rules, on=operation("write"), usage=used)
    assert (denied.decision, denied.rules) == (Decision.DENY, ("few",))


def test_the_same_statement_is_answered_once():
    """Without changing rules the same facts give the same verdict object, for equal agents and resources too."""
    fixed = policy(ALLOW, rule("verb", 'sql.has_where && operation.verb == "DELETE"', "deny"))
    one = operation()
    again = msgspec.structs.replace(one, id="other", parameters=(Parameter("text", b"7"),))
    assert fixed.evaluate(one, session(), NOON) is fixed.evaluate(again, session(), NOON + 1)
    assert fixed.evaluate(one, session(), NOON) == fixed.evaluate(operation(), session(), NOON)


def test_what_is_remembered_is_of_this_agent_and_resource():
    """Another agent, or the same resource under other labels, is answered anew."""
    rules = policy(
        ALLOW,
        rule("agent", 'agent.name == "mallory"', "deny"),
        rule("prod", 'resource.labels[?"env"].orValue("") == "prod"', "deny"),
    )
    one = operation()
    assert rules.evaluate(one, session(), NOON).rules == ("all",)
    assert rules.evaluate(one, session(agent="mallory"), NOON).rules == ("agent",)
    assert rules.evaluate(one, session(labels={"env": "prod"}), NOON).rules == ("prod",)


def test_the_text_counts_where_a_rule_reads_it():
    """Facts may be shared by statements of different text; a rule about the text sees the text."""
    rules = policy(ALLOW, rule("secret", 'operation.text.contains("secret")', "deny"))
    one = operation()
    assert rules.evaluate(one, session(), NOON).rules == ("all",)
    assert rules.evaluate(msgspec.structs.replace(one, text="SELECT secret"), session(), NOON).rules == ("secret",)


@pytest.mark.parametrize(
    "when", ['sql.parameters.exists(p, p == "7")', "dyn(sql).has_where == true", "sql == sql", "has(sql.parameters)"]
)
def test_a_whole_family_counts_as_changing(when: str):
    """A rule that may read what changes, in whichever way it is written, is answered for each execution."""
    assert policy(rule("a", when, "deny")).rules[0].condition.changing


def test_changing_facts_are_asked_each_time():
    """Parameters, counters, size and time are never remembered."""
    rules = policy(
        ALLOW,
        rule("seven", 'sql.parameters.exists(p, p == "7")', "deny"),
        rule("tired", "session.operations > 10", "deny"),
        rule("big", "operation.size > 1000", "deny"),
        rule("night", "time.hour >= 22 || time.weekday > 5", "deny"),
    )
    one = operation()
    seven = msgspec.structs.replace(one, parameters=(Parameter("int4", b"7"),))
    assert rules.evaluate(one, session(), NOON).rules == ("all",)
    assert rules.evaluate(seven, session(), NOON).rules == ("seven",)
    tired = session()
    tired.operations = 11
    assert rules.evaluate(one, tired, NOON).rules == ("tired",)
    assert rules.evaluate(msgspec.structs.replace(one, size=1001), session(), NOON).rules == ("big",)
    assert rules.evaluate(one, session(), NOON + 10 * 3_600_000_000).rules == ("night",)
    assert rules.evaluate(one, session(), NOON + 2 * 86_400_000_000).rules == ("night",)


def test_a_binary_parameter_is_read_or_denied():
    """A binary value is compared as text; one whose form nobody can read denies where a rule asks for it."""
    asks = policy(ALLOW, rule("seven", 'sql.parameters.exists(p, p == "7")', "deny"))
    seven = Parameter("int4", b"\x00\x00\x00\x07", "binary")
    strange = Parameter("point", bytes(16), "binary")
    assert asks.evaluate(operation(parameters=(seven,)), session(), NOON).rules == ("seven",)
    denied = asks.evaluate(operation(parameters=(strange,)), session(), NOON)
    assert denied.rules == ("seven",)
    assert "'point'" in denied.reason
    assert policy(ALLOW).evaluate(operation(parameters=(strange,)), session(), NOON).rules == ("all",)


def test_an_expression_without_end_denies():
    """CEL's budget ends a condition that would block the door, and that denies."""
    tens = "[0,1,2,3,4,5,6,7,8,9]"
    nested = "true"
    for name in "abcdef":
        nested = f"{tens}.all({name}, {nested})"
    assert verdict(ALLOW, rule("slow", f"!{nested}", "deny")).rules == ("slow",)


def test_a_json_body_is_read_as_it_is():
    """Fields of a body are compared without declaration, and a number that a double cannot hold is text."""
    asks = policy(ALLOW, rule("big", 'http.body.id == "9007199254740993"', "deny"))
    assert asks.evaluate(request(b'{"id": 9007199254740993}'), session(), NOON).rules == ("big",)
    assert asks.evaluate(request(b'{"id": 9007199254740992}'), session(), NOON).rules == ("all",)
    assert asks.evaluate(request(b"{}"), session(), NOON).rules == ("big",)


def test_a_field_that_cannot_be_told_denies_only_where_it_is_asked_for():
    """A rule that is decided without the body does not mind what it is; one that asks for it denies, and no other does."""
    asks = policy(ALLOW, rule("pay", 'http.path == "/pay" && http.body.amount > 100', "deny"))
    torn = b'{"amount": 1, "amount": 1000}'
    assert asks.evaluate(request(torn, path="/notes"), session(), NOON).rules == ("all",)
    refused = asks.evaluate(request(torn, path="/pay"), session(), NOON)
    assert refused.rules == ("pay",)
    assert "more than once" in refused.reason
    assert asks.evaluate(request(b'{"amount": 1}', path="/pay"), session(), NOON).rules == ("all",)


@pytest.mark.parametrize("field", ["query", "headers"])
def test_a_query_or_header_that_cannot_be_told_denies_where_it_is_asked_for(field: str):
    """The other facts of the request stay as plain as they are."""
    asks = policy(ALLOW, rule("x", f'http.path == "/pay" && "x" in http.{field}', "deny"))
    unreadable = {field: "There are two."}
    assert asks.evaluate(request(path="/notes", unreadable=unreadable), session(), NOON).rules == ("all",)
    refused = asks.evaluate(request(path="/pay", unreadable=unreadable), session(), NOON)
    assert (refused.rules, "There are two." in refused.reason) == (("x",), True)
    assert asks.evaluate(request(path="/pay"), session(), NOON).rules == ("all",)
    assert asks.evaluate(operation(), session(), NOON).rules == ("all",)


@pytest.mark.parametrize("condition", ["http == http", "[http].exists(h, h.body == 1)"])
def test_a_body_that_cannot_be_told_denies_however_it_is_asked_for(condition: str):
    """No way of writing the condition gets an empty body instead."""
    asks = policy(ALLOW, rule("x", condition, "mask", mask="[{detect: [email], with: redact}]"))
    assert asks.evaluate(request(b"{"), session(), NOON).rules == ("x",)


def test_binary_passes_only_where_every_mask_says_so():
    """Of several masks the strictest word counts."""
    passing = rule("a", "true", "mask", mask="[{detect: [email], with: redact, binary: pass}]")
    withheld = rule("b", 'http.path == "/x"', "mask", mask="[{detect: [iban], with: redact}]")
    rules = policy(ALLOW, passing, withheld)
    assert rules.evaluate(request(path="/y"), session(), NOON).obligations.pass_binary
    assert not rules.evaluate(request(path="/x"), session(), NOON).obligations.pass_binary
    assert not policy(ALLOW).evaluate(request(), session(), NOON).obligations.pass_binary


def test_explain_answers_for_every_rule():
    """Each rule says whether it matched, was not answerable or does not apply, with its place and text."""
    rules = policy(
        ALLOW,
        rule("other", 'http.method == "GET"', "deny"),
        rule("bad", 'resource.labels["env"] == "prod"', "allow"),
        rule("no", "sql.has_where", "deny"),
        rule("night", "time.hour > 22", "deny"),
    )
    answers = rules.explain(operation(), session(), NOON)
    assert [(answer.rule, answer.answer) for answer in answers] == [
        ("all", Answer.YES),
        ("other", Answer.NOT_APPLICABLE),
        ("bad", Answer.ERROR),
        ("no", Answer.NO),
        ("night", Answer.NO),
    ]
    assert (answers[1].line, answers[1].action, answers[1].when) == (8, "deny", 'http.method == "GET"')
    assert answers[2].detail


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """However many statements and agents come, what is remembered stays within its limits and stays right."""
    monkeypatch.setattr("gateway_kernel.policy.evaluate.MAX_KNOWN", 8)
    monkeypatch.setattr("gateway_kernel.policy.evaluate.MAX_SUBJECTS", 4)
    rules = policy(ALLOW, rule("where", "sql.has_where", "deny"), rule("m", 'agent.name == "a3"', "deny"))
    for index in range(200):
        where = index % 2 == 0
        asked = rules.evaluate(operation(family=SqlFacts(has_where=where)), session(agent=f"a{index % 7}"), NOON)
        assert (asked.rules == ("all",)) == (not where and index % 7 != 3)
    assert len(vars(rules)["_known"]) <= 8
    assert len(vars(rules)["_subjects"]) <= 4


def test_facts_are_not_confused_after_they_are_gone():
    """An object that takes the address of a forgotten one is not taken for it."""
    rules = policy(ALLOW, rule("where", "sql.has_where", "deny"))
    for index in range(2000):
        where = index % 3 == 0
        agent, resource = Agent("ci-bot"), Resource("orders-db", "postgres")
        current = session()
        current.agent, current.resource = agent, resource
        asked = rules.evaluate(operation(family=SqlFacts(has_where=where)), current, NOON)
        assert asked.denies is where


def test_every_protocol_has_its_family():
    """Facts of HTTP are there for HTTP."""
    rules = policy(rule("get", 'http.method == "GET" && http.segments == ["a", "b"]', "allow"))
    made = request(method="GET", segments=("a", "b"))
    assert isinstance(made.facts.family, HttpFacts)
    assert rules.evaluate(made, session(), NOON).rules == ("get",)
