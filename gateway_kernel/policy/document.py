"""Loading a policy: the YAML document held against its types, its conditions compiled, everything that is wrong said at once.

An error stands as `file:line:column: rule 'id': what (did you mean 'x'?)`, with the place of the word that is wrong, inside a
condition too. What is suspicious but has a meaning is a warning of the policy. Nothing is evaluated here.
"""

import hashlib
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Any, Literal

import msgspec

from gateway_kernel.canonical import canonical
from gateway_kernel.errors import PolicyError
from gateway_kernel.policy import actions, cases
from gateway_kernel.policy.actions import review
from gateway_kernel.policy.actions.action import Groups, Objection, is_entra_id
from gateway_kernel.policy.actions.review import ReviewSettings, terms_of
from gateway_kernel.policy.cases import Case
from gateway_kernel.policy.cel import Condition, ConditionError, compile_condition
from gateway_kernel.policy.evaluate import Policy, Rule
from gateway_kernel.policy.obligations import DEFAULT_RULE, in_both
from gateway_kernel.policy.shape import MISFIT, fit, found, nearest, unknown_keys
from gateway_kernel.policy.source import Mapping, Node, Place, Problem, Scalar, ScalarMap, Sequence, find, parse, plain
from gateway_kernel.policy.syntax import Remark
from gateway_kernel.verdict import Decision

MAX_RULES = 500
MAX_CASES = 2000

# Rules that the product itself names in a refusal: a policy's own rule must not pass for one of them.
RESERVED = (
    DEFAULT_RULE,
    "unreadable",
    "unrewritable",
    "masked-column",
    "grant-mismatch",
    "policy-changed",
    "review-denied",
    "review-expired",
    "review-withdrawn",
    "review-pending",
    "review-unavailable",
    "review-limit",
    "grant-used",
    "verdict-mismatch",
)

Member = Annotated[
    str, msgspec.Meta(pattern=r"\A[^\s&]{1,320}\Z", description="a person's sign-in name or an Entra group id")
]
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}\Z")


class Head(msgspec.Struct, frozen=True):
    """The document without its rules and tests, which are read one by one."""

    version: Literal[1]
    default: Literal["deny", "review"] = "deny"
    default_review: ReviewSettings | None = None
    groups: dict[str, Member | tuple[Member, ...]] = {}


class RuleHead(msgspec.Struct, frozen=True):
    """What every rule has; its action's settings stand under the action's own name."""

    id: str
    when: str
    then: str
    reason: str = ""


_HEAD_KEYS = ["version", "default", "default_review", "groups", "rules", "tests"]
_RULE_KEYS = [
    "id",
    "when",
    "then",
    "reason",
    *(action.name for action in actions.ACTIONS if action.settings is not None),
]


def load(text: str | bytes, name: str = "policy.yaml") -> Policy:
    """Return the policy that `text` says. Raise `PolicyError` with every problem, each starting with `name`:line:column."""
    root, source = parse(text, name)
    loading = _Loading(root, source)
    policy = loading.policy(name)
    if policy is None:
        raise PolicyError(tuple(dict.fromkeys(problem.text(name) for problem in sorted(loading.problems))))
    return policy


class _Loading:
    """One load: the tree, and what was found wrong or suspicious on the way."""

    def __init__(self, root: Node, source: str) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._root = root
        self._source = source

    def policy(self, name: str) -> Policy | None:
        root = self._root
        if not isinstance(root, Mapping):
            self._object(root.place, f"a policy is a mapping with version, default and rules, found {found(root)}")
            return None
        unknown_keys(root, _HEAD_KEYS, self.problems)
        head = self._head(root)
        groups = self._groups(root, head)
        rules = self._rules(root.get("rules"), root, groups)
        tests = self._cases(root.get("tests"))
        default_terms = None
        if isinstance(head, Head) and head.default_review is not None:
            default_terms = terms_of(head.default_review)
            path = ("default_review",)
            self._objections(review.check_terms(head.default_review, groups), path, "")
        if self.problems or not isinstance(head, Head):
            return None
        self._suspicions(rules, groups)
        return Policy(
            name=name,
            text=self._source,
            digest=hashlib.sha256(canonical(plain(root))).hexdigest(),
            default=Decision(head.default),
            default_review=default_terms,
            groups=groups,
            rules=tuple(rules),
            cases=tuple(tests),
            warnings=tuple(dict.fromkeys(warning.text(name) for warning in sorted(self.warnings))),
        )

    def _object(self, place: Place, what: str) -> None:
        self.problems.append(Problem(place, what))

    def _head(self, root: Mapping) -> Any:
        known = {key: pair for key, pair in root.pairs.items() if key in Head.__struct_fields__}
        head = fit(Mapping(root.place, known), Head, self.problems)
        if isinstance(head, Head) and (head.default == "review") != (head.default_review is not None):
            what = "`default: review` and a `default_review` section with its terms belong together"
            self._object(find(root, "default_review" if head.default_review else "default").place, what)
        return head

    def _groups(self, root: Mapping, head: Any) -> Groups:
        written = root.get("groups")
        if isinstance(written, Mapping):
            for name, (key, _) in written.pairs.items():
                if not _GROUP.match(name):
                    self._object(key.place, f"the group name {name!r} must be letters, digits and _ . @ - only")
        if not isinstance(head, Head):  # enough to check the rules against; the problem has been noted
            return dict.fromkeys(written.pairs, ()) if isinstance(written, Mapping) else {}
        members = {name: (who,) if isinstance(who, str) else who for name, who in head.groups.items()}
        return {
            name: tuple(member if is_entra_id(member) else member.lower() for member in who)
            for name, who in members.items()
        }

    def _rules(self, node: Node | None, root: Mapping, groups: Groups) -> list[Rule]:
        if not isinstance(node, Sequence):
            what = "'rules' is missing" if node is None else f"'rules' must be a list, found {found(node)}"
            self._object(root.place if node is None else node.place, what)
            return []
        if len(node.items) > MAX_RULES:
            self._object(node.place, f"{len(node.items)} rules, more than the {MAX_RULES} allowed")
            return []
        rules: list[Rule] = []
        seen: dict[str, Place] = {}
        for item in node.items:
            before = len(self.problems)
            rule = self._rule(item, groups, seen)
            if rule is not None:
                rules.append(rule)
            name = item.pairs["id"][1] if isinstance(item, Mapping) and "id" in item.pairs else None
            if isinstance(name, Scalar) and isinstance(name.value, str):
                self._prefix(before, name.value)
        return rules

    def _prefix(self, before: int, name: str) -> None:
        """Say which rule the problems noted since `before` are about."""
        for index in range(before, len(self.problems)):
            problem = self.problems[index]
            self.problems[index] = Problem(problem.place, f"rule {name!r}: {problem.what}")

    def _rule(self, node: Node, groups: Groups, seen: dict[str, Place]) -> Rule | None:
        before = len(self.problems)
        if not isinstance(node, Mapping):
            self._object(node.place, f"a rule is a mapping with id, when and then, found {found(node)}")
            return None
        unknown_keys(node, _RULE_KEYS, self.problems)
        known = {key: pair for key, pair in node.pairs.items() if key in RuleHead.__struct_fields__}
        head = fit(Mapping(node.place, known), RuleHead, self.problems)
        if not isinstance(head, RuleHead):
            return None
        self._id(head.id, find(node, "id"), seen)
        condition = self._condition(head, find(node, "when"))
        action = actions.BY_NAME.get(head.then)
        if action is None:
            what = f"there is no action {head.then!r}{nearest(head.then, list(actions.BY_NAME))}"
            self._object(find(node, "then").place, what)
            return None
        settings = self._settings(node, action, groups, head.id)
        if condition is None or len(self.problems) > before:
            return None
        return Rule(head.id, action, condition, settings, head.reason.strip(), node.place)

    def _id(self, name: str, node: Node, seen: dict[str, Place]) -> None:
        if not _ID.match(name):
            self._object(node.place, f"the id {name[:80]!r} must be lower-case letters, digits and -, at most 64")
        elif name in RESERVED:
            self._object(node.place, f"the id {name!r} is the name of a built-in rule; choose another")
        elif name in seen:
            self._object(node.place, f"the id {name!r} is taken by the rule in line {seen[name].line}")
        seen.setdefault(name, node.place)

    def _condition(self, head: RuleHead, node: Node) -> Condition | None:
        assert isinstance(node, Scalar)
        try:
            condition, remarks = compile_condition(head.when)
        except ConditionError as error:
            self._remarks(error.remarks, node, self.problems, "")
            return None
        self._remarks(remarks, node, self.warnings, f"rule {head.id!r}: ")
        return condition

    def _remarks(self, remarks: tuple[Remark, ...], node: Scalar, into: list[Problem], prefix: str) -> None:
        if remarks:
            places = ScalarMap(self._source, node)
            into.extend(Problem(places.place(remark.index), prefix + remark.what) for remark in remarks)

    def _settings(self, node: Mapping, action: actions.Action, groups: Groups, rule: str) -> Any:
        for key, (scalar, _) in node.pairs.items():
            if key in actions.BY_NAME and key in _RULE_KEYS and key != action.name:
                self._object(scalar.place, f"a rule with `then: {action.name}` has no section {key!r}")
        if action.settings is None:
            return None
        section = node.get(action.name)
        if section is None:
            self._object(find(node, "then").place, f"`then: {action.name}` needs a section {action.name!r}")
            return None
        settings = fit(section, action.settings, self.problems)
        if settings is not MISFIT:
            self._objections(action.check(settings, groups), (action.name,), rule, node)
        return settings

    def _objections(
        self, objections: Iterator[Objection], path: tuple[str, ...], rule: str, node: Node | None = None
    ) -> None:
        for objection in objections:
            place = find(node or self._root, *path, *objection.path).place
            if objection.fatal:
                self._object(place, objection.what)
            else:
                self.warnings.append(Problem(place, f"rule {rule!r}: {objection.what}" if rule else objection.what))

    def _cases(self, node: Node | None) -> list[Case]:
        if node is None:
            return []
        if not isinstance(node, Sequence):
            self._object(node.place, f"'tests' must be a list, found {found(node)}")
            return []
        if len(node.items) > MAX_CASES:
            self._object(node.place, f"{len(node.items)} tests, more than the {MAX_CASES} allowed")
            return []
        read = [(item, fit(item, Case, self.problems)) for item in node.items]
        found_cases: list[Case] = []
        for item, case in read:
            if not isinstance(case, Case):
                continue
            found_cases.append(case)
            try:
                cases.instant(case.now)
            except ValueError:
                self._object(find(item, "now").place, f"there is no such time: {case.now}")
        return found_cases

    def _suspicions(self, rules: list[Rule], groups: Groups) -> None:
        """What loads, but can hardly be meant."""
        for rule in rules:
            if rule.condition.constant is False:
                self._suspect(rule, "never matches")
            if rule.condition.constant is True and rule.action.name == "deny":
                self._suspect(rule, "denies everything, so no other rule can allow anything")
        decisions = [rule for rule in rules if rule.action.name in _STRENGTH]
        for one, other in combinations(decisions, 2):
            weak, strong = sorted((one, other), key=lambda rule: _STRENGTH[rule.action.name])
            if one.condition.text.split() == other.condition.text.split() and weak.action is not strong.action:
                self._suspect(weak, f"never decides: rule {strong.id!r} has the same condition and is stricter")
        for one, other in combinations([rule for rule in rules if rule.action.name == "review"], 2):
            self._nobody_for_both(one, other, groups)

    def _suspect(self, rule: Rule, what: str) -> None:
        self.warnings.append(Problem(rule.place, f"rule {rule.id!r}: {what}"))

    def _nobody_for_both(self, one: Rule, other: Rule, groups: Groups) -> None:
        """Two reviews of one operation need people who are eligible under both."""
        approvers = [tuple(rule.settings.approvers) for rule in (one, other)]
        sets = [frozenset(member for name in names for member in groups[name]) for names in approvers]
        if not (sets[0] & sets[1]) and sets[0] and sets[1] and in_both(*approvers):
            what = f"where rule {other.id!r} matches too, nobody can approve: nobody is in {' or '.join(approvers[0])}"
            self._suspect(one, f"{what} and in {' or '.join(approvers[1])}")


_STRENGTH = {"allow": 0, "review": 1, "deny": 2}
