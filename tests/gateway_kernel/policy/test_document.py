"""What a policy that does not load says, and what one that does is suspected of."""

import pytest

from gateway_kernel import commands, judge
from gateway_kernel.errors import PolicyError
from gateway_kernel.policy import load
from gateway_kernel.policy.document import MAX_RULES, RESERVED
from tests.gateway_kernel.policy.rules import document, policy, rule

ALLOW = rule("all", "true", "allow")


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        load(text, "p.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("id: a\nwhen: 'true'\nthen: alow", "7:9: rule 'a': there is no action 'alow' (did you mean 'allow'?)"),
        ("id: a\nwhen: 'true'\nthn: allow", "7:3: rule 'a': unknown key 'thn' (did you mean 'then'?)"),
        ("id: a\nwhen: true\nthen: allow", "6:9: rule 'a': expected text, found true or false; write it in quotes"),
        (
            "id: A b\nwhen: 'true'\nthen: allow",
            "5:7: rule 'A b': the id 'A b' must be lower-case letters, digits and -, at most 64",
        ),
        (
            "id: unreadable\nwhen: 'true'\nthen: allow",
            "5:7: rule 'unreadable': the id 'unreadable' is the name of a built-in rule; choose another",
        ),
        ("id: a\nwhen: 'true'\nthen: review", "7:9: rule 'a': `then: review` needs a section 'review'"),
        (
            "id: a\nwhen: 'true'\nthen: allow\nreview: {approvers: [dba]}",
            "8:3: rule 'a': a rule with `then: allow` has no section 'review'",
        ),
        (
            "id: a\nwhen: 'true'\nthen: review\nreview: {approvers: [dbas]}",
            "8:24: rule 'a': there is no group 'dbas' (did you mean 'dba'?); add it under `groups`",
        ),
        (
            "id: a\nwhen: 'true'\nthen: review\nreview: {approvers: [dba], expires: 2 hours}",
            "8:39: rule 'a': expected a duration such as 90s, 30m, 2h or 1d, found '2 hours'",
        ),
        (
            "id: a\nwhen: 'true'\nthen: review\nreview: {approvers: [dba], expires: 1h, remind: 2h}",
            "8:51: rule 'a': the reminder would come after the review expires (1h)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: review\nreview: {approvers: [dba], quorum: 0}",
            "8:38: rule 'a': expected a whole number from 1 to 20, found 0",
        ),
        ("id: a\nwhen: 'true'\nthen: review\nreview: {approvers: []}", "8:23: rule 'a': the list is empty"),
        (
            "id: a\nwhen: 'true'\nthen: rewrite\nrewrite: {}",
            "8:12: rule 'a': this rewrites nothing; give limit, read_only, replace or parts",
        ),
        (
            "id: a\nwhen: 'true'\nthen: rewrite\nrewrite: {parts: {querry.page: '1'}}",
            "8:34: rule 'a': no protocol has a part 'querry.page' (did you mean 'query.page'?)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: rewrite\nrewrite: {parts: {query.: '1'}}",
            "8:29: rule 'a': no protocol has a part 'query.' (did you mean 'query.NAME'?)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: rewrite\nrewrite: {parts: {path: '/a/%2f'}}",
            "8:27: rule 'a': A name in the path holds a slash or backslash: servers differ on whether it divides the path.",
        ),
        (
            "id: a\nwhen: 'true'\nthen: rewrite\nrewrite: {parts: {path: null}}",
            "8:27: rule 'a': a path cannot be removed",
        ),
        (
            "id: a\nwhen: 'true'\nthen: mask\nmask: [{columns: [email], with: redact}]",
            "8:21: rule 'a': 'email' is not a column; write table.column, schema.table.column or the end of a JSON path, with * for any part",
        ),
        (
            "id: a\nwhen: 'true'\nthen: mask\nmask: [{detect: [credit_crd], with: redact}]",
            "8:20: rule 'a': there is no detector 'credit_crd' (did you mean 'credit_card'?)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: mask\nmask: [{detect: [iban], with: redakt}]",
            "8:33: rule 'a': 'redakt' is not one of hash, null, partial, redact, token (did you mean 'redact'?)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: mask\nmask: [{with: redact}]",
            "8:10: rule 'a': a mask names either `columns` or `detect`",
        ),
        (
            "id: a\nwhen: 'true'\nthen: cap\ncap: {quantity: rows, limit: 3}",
            "8:19: rule 'a': 'rows' is not one of bytes_read, operations, reviews, rows_read, rows_written (did you mean 'rows_read'?)",
        ),
        (
            "id: a\nwhen: 'true'\nthen: cap\ncap: {quantity: rows_read, limit: 3, per: agent}",
            "8:45: rule 'a': a cap per agent needs a `window`: an agent has no end",
        ),
        (
            "id: a\nwhen: 'true'\nthen: record\nrecord: {responses: all}",
            "8:23: rule 'a': 'all' is not one of digest, full, head",
        ),
    ],
    ids=range(24),
)
def test_an_error_names_place_rule_and_remedy(written: str, problem: str):
    """A mistake in a rule is said with its line, column, rule and what to write instead."""
    assert f"p.yaml:{problem}" in problems(document(written))


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        (
            'operation.effects.exists(e, e.kindd == "x")',
            "6:40: rule 'a': undefined field 'kindd' in Effect (did you mean 'kind'?)",
        ),
        ("operation.verb == 3", "6:25: rule 'a': found no matching overload for '_==_' applied to '(string, int)'"),
        ('operatio.verb == "x"', "6:10: rule 'a': unknown name 'operatio' (did you mean 'operation'?)"),
        ("operation.verb", "6:10: rule 'a': the condition must be true or false, this is text"),
        (
            'operation.effects.exists(e, e.kind == "raed")',
            "6:48: rule 'a': no effect has the kind 'raed' (did you mean 'read'?)",
        ),
        (
            'operation.effects.exists(e, e.kind in ["read", "rwite"])',
            "6:57: rule 'a': no effect has the kind 'rwite' (did you mean 'write'?)",
        ),
        ('operation.text.matches("(")', "6:33: rule 'a': this is not a regular expression (RE2): missing ): ("),
        ("1 +", "6:13: rule 'a': Syntax error"),
    ],
)
def test_a_condition_error_stands_inside_the_condition(when: str, problem: str):
    """CEL's errors carry the line and column of the word in the YAML file, in our words where a near name is known."""
    text = document(f"id: a\nwhen: '{when}'\nthen: allow")
    assert any(found.startswith(f"p.yaml:{problem}") for found in problems(text))


def test_a_condition_error_in_a_folded_scalar_has_its_own_line():
    """In a condition of several lines the line is that of the wrong word."""
    text = document('id: a\nwhen: >-\n  operation.verb == "SELECT"\n  && operation.sise > 3\nthen: allow')
    assert problems(text) == ("p.yaml:8:18: rule 'a': undefined field 'sise' in Operation (did you mean 'size'?)",)


@pytest.mark.parametrize(
    "when",
    [
        "(" * 4000 + "true" + ")" * 4000,
        "[1].all(x," * 30 + "true" + ")" * 30,
        "a" * 9000,
        "x.y" + ".z" * 2000,
        "",
        "\\n",
    ],
    ids=range(6),
)
def test_a_hostile_condition_is_an_error(when: str):
    """Depth, length and emptiness are refused like any other mistake, at once."""
    assert problems(document(f'id: a\nwhen: "{when}"\nthen: allow'))


def test_every_problem_is_said_at_once_in_order():
    """Mistakes in several rules, in the head and in the tests come together, sorted by place."""
    text = document(
        "id: a\nwhen: nothing\nthen: allow", "id: a\nwhen: 'true'\nthen: mask\nmask: []", default="default: allow"
    )
    found = problems(text + "tests:\n- {name: x}\n")
    assert [line.split(":")[1] for line in found] == ["2", "6", "8", "11", "13", "13", "13", "13"]
    assert "'allow' is not one of deny, review" in found[0]


def test_ids_are_unique():
    """A second rule of the same id is an error that points at the first."""
    assert problems(document(ALLOW, ALLOW)) == ("p.yaml:8:7: rule 'all': the id 'all' is taken by the rule in line 5",)


def test_default_review_needs_its_terms():
    """`default: review` cannot stand alone, nor can the terms."""
    assert "belong together" in problems(document(ALLOW, default="default: review"))[0]
    terms = "default: deny\ndefault_review: {approvers: [dba]}"
    assert "belong together" in problems(document(ALLOW, default=terms))[0]


def test_the_number_of_rules_is_bounded():
    """More rules than anybody can read are refused."""
    many = document(*(rule(f"r{index}", "true", "allow") for index in range(MAX_RULES + 1)))
    assert f"more than the {MAX_RULES} allowed" in problems(many)[0]


@pytest.mark.parametrize("text", ["[]", "just text", "version: 2\nrules: []", "rules: {}", "version: 1"])
def test_other_documents_are_no_policies(text: str):
    """A document of another shape is an error, never an empty policy."""
    assert problems(text)


def test_built_in_rule_names_are_reserved():
    """No rule of a policy can pass for one of the gate's own."""
    own = {value for name, value in vars(commands).items() if name.isupper() and isinstance(value, str)}
    own |= {judge.UNREADABLE, judge.UNREWRITABLE, judge.MASKED_COLUMN}
    assert own <= set(RESERVED)


@pytest.mark.parametrize(
    ("rules", "warning"),
    [
        ([rule("a", 'resource.labels["env"] == "prod"', "allow")], 'resource.labels[?"env"].orValue("")'),
        ([rule("a", 'resource.labels.env == "prod"', "allow")], 'resource.labels[?"env"].orValue("")'),
        ([rule("a", 'sql.reads[0] == "x"', "allow")], "ask for size(sql.reads) first"),
        ([rule("a", "false", "deny"), ALLOW], "never matches"),
        ([rule("a", "true", "deny"), rule("b", "sql.has_where", "allow")], "denies everything"),
        ([rule("a", "sql.has_where", "allow"), rule("b", "sql.has_where", "deny")], "'b' has the same condition"),
        ([rule("a", "true", "review", review="{approvers: [dba], quorum: 3}")], "a quorum of 3 cannot be reached"),
    ],
)
def test_suspicions_are_warnings(rules: list[str], warning: str):
    """What loads but can hardly be meant is said, with the rule's name."""
    (found,) = policy(*rules).warnings
    assert warning in found
    assert "rule 'a'" in found


@pytest.mark.parametrize(
    "when",
    [
        '"env" in resource.labels && resource.labels["env"] == "prod"',
        'has(resource.labels.env) && resource.labels.env == "prod"',
        'resource.labels[?"env"].orValue("") == "prod"',
        'size(sql.reads) > 0 && sql.reads[0] == "x"',
        'sql.reads.size() > 0 && sql.reads[0] == "x"',
    ],
)
def test_a_guarded_index_is_no_suspicion(when: str):
    """A condition that asks first is left alone."""
    assert policy(rule("a", when, "allow")).warnings == ()


def test_groups_without_people_are_suspect():
    """A review nobody can decide is a warning; an Entra group may have members that only Entra knows."""
    nobody = policy(rule("a", "true", "review", review="{approvers: [x]}"), groups="groups: {x: []}")
    assert "nobody is in these groups" in nobody.warnings[0]
    entra = "groups: {x: 6f9619ff-8b86-d011-b42d-00cf4fc964ff}"
    assert policy(rule("a", "true", "review", review="{approvers: [x]}"), groups=entra).warnings == ()


def test_two_reviews_that_share_nobody_are_suspect():
    """If both matched, nobody would be eligible under both."""
    groups = "groups: {x: [ann@example.com], y: [bob@example.com]}"
    one = rule("a", "sql.has_where", "review", review="{approvers: [x]}")
    other = rule("b", "true", "review", review="{approvers: [y]}")
    assert "nobody can approve" in policy(one, other, groups=groups).warnings[0]


def test_the_digest_is_of_the_meaning():
    """Comments and layout do not change a policy's digest; any value does."""
    one = load("version: 1\nrules:\n- id: a\n  when: 'true'\n  then: allow\n")
    other = load('# the same\nversion: 1\nrules: [{id: a, when: "true", then: allow}]\n')
    third = load('version: 1\nrules: [{id: b, when: "true", then: allow}]\n')
    assert one.digest == other.digest != third.digest
    assert len(one.digest) == 64
