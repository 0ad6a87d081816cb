"""A loaded policy: the verdict on an operation, and why.

Every rule is answered, in order; `obligations` makes one verdict of the answers. What a rule says of a statement, an agent and a
resource is remembered by the identity of the facts (a reader gives the same object for the same statement), so only rules
that ask for something that changes between executions are evaluated again. Loading is `document`'s part.
"""

from collections import OrderedDict
from typing import Any

import msgspec

from gateway_kernel.model import Agent, Facts, Instant, Operation, Resource, Session
from gateway_kernel.policy.actions import cap
from gateway_kernel.policy.actions.action import Action, Groups
from gateway_kernel.policy.cases import Case
from gateway_kernel.policy.cel import Answer, Bench, Condition
from gateway_kernel.policy.obligations import BOTH, Draft, Statement
from gateway_kernel.policy.source import Place
from gateway_kernel.verdict import Cap, Decision, ReviewTerms, Verdict

MAX_KNOWN = 4096  # statements x (agent, resource) whose answers are remembered; about 2 KB each
MAX_SUBJECTS = 4096  # (agent, resource) pairs
MAX_VERDICTS = 64  # for one remembered statement; more only if many changing rules take turns

type Answered = tuple[Answer, str]


class Rule(msgspec.Struct, frozen=True):
    """One rule, compiled. `settings` are of its action's type; `place` is where it starts in the document."""

    id: str
    action: Action
    condition: Condition
    settings: Any
    reason: str
    place: Place


class RuleAnswer(msgspec.Struct, frozen=True):
    """What one rule said of an operation, for `policy explain`. `detail` says why a condition could not be answered."""

    rule: str
    action: str
    answer: Answer
    when: str
    line: int
    column: int
    detail: str = ""


class _Subject:
    """An agent at a resource, whatever objects stand for them."""

    __slots__ = ()


class _Known(msgspec.Struct):
    """What is remembered of a statement. Holds the facts, so that their identity is not given to another object."""

    facts: Facts
    subject: _Subject
    answers: tuple[Answered, ...]
    verdicts: dict[Any, Verdict]


class Policy:
    """One version of the rules. `load` makes it; it never changes. Not for use from several threads at once.

    `digest` is the hex SHA-256 of the document's canonical JSON, `text` the document itself, `warnings` are `file:line:column: what`.
    """

    def __init__(
        self,
        *,
        name: str,
        text: str,
        digest: str,
        default: Decision,
        default_review: ReviewTerms | None,
        groups: Groups,
        rules: tuple[Rule, ...],
        cases: tuple[Case, ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.text = text
        self.digest = digest
        self.default = default
        self.default_review = default_review
        self.groups = groups
        self.rules = rules
        self.cases = cases
        self.warnings = warnings
        self.caps: tuple[Cap, ...] = tuple(
            cap.cap_of(rule.id, rule.settings) for rule in rules if rule.action is cap.ACTION
        )
        self._fixed = [rule for rule in rules if not rule.condition.changing]
        self._changing = [rule for rule in rules if rule.condition.changing]
        self._fixed_reads = _reads(self._fixed)
        self._changing_reads = _reads(self._changing)
        self._by_text = ("operation", "text") in self._fixed_reads
        self._simple = not self._changing and not self.caps
        self._known: OrderedDict[Any, _Known] = OrderedDict()
        self._subjects: OrderedDict[tuple[int, int], tuple[_Subject, Agent, Resource]] = OrderedDict()
        self._equal_subjects: OrderedDict[bytes, _Subject] = OrderedDict()

    def __repr__(self) -> str:
        return f"Policy({self.name!r}, {len(self.rules)} rules, {self.digest[:12]})"

    def people(self, terms: ReviewTerms, *, escalated: bool) -> frozenset[str]:
        """Who may decide under `terms`: identities in lower case, and Entra group ids as they are written.

        A name of the form `a & b` (several review rules matched) stands for those who are in both groups.
        """
        names = terms.approvers
        if escalated and terms.escalate is not None:
            names = (*names, *terms.escalate.approvers)
        people: set[str] = set()
        for name in names:
            people |= frozenset.intersection(*(frozenset(self.groups.get(part, ())) for part in name.split(BOTH)))
        return frozenset(people)

    def evaluate(self, operation: Operation, session: Session, now: Instant) -> Verdict:
        """Return the verdict on `operation`, whose facts have been read."""
        known = self._remembered(operation, session, now)
        if self._simple:
            return known.verdicts[None]

        changing: tuple[Answered, ...] = ()
        if self._changing:
            bench = Bench(self._changing_reads, operation, session, now)
            changing = tuple(bench.answer(rule.condition) for rule in self._changing)
        usage = session.usage
        exceeded = frozenset(limit.rule for limit in self.caps if usage.get(limit.key, 0) >= limit.limit)
        key = (changing, exceeded)
        verdict = known.verdicts.get(key)
        if verdict is None:
            verdict = self._verdict(known.answers, changing, exceeded)
            if len(known.verdicts) >= MAX_VERDICTS:
                known.verdicts.clear()
            known.verdicts[key] = verdict
        return verdict

    def explain(self, operation: Operation, session: Session, now: Instant) -> tuple[RuleAnswer, ...]:
        """Return what every rule says of `operation`, in the order of the document."""
        fixed = Bench(self._fixed_reads, operation, session, now)
        changing = Bench(self._changing_reads, operation, session, now)
        answers: list[RuleAnswer] = []
        for rule in self.rules:
            answer, detail = (changing if rule.condition.changing else fixed).answer(rule.condition)
            place = rule.place
            answers.append(
                RuleAnswer(rule.id, rule.action.name, answer, rule.condition.text, place.line, place.column, detail)
            )
        return tuple(answers)

    def _remembered(self, operation: Operation, session: Session, now: Instant) -> _Known:
        facts = operation.facts
        subject = self._subject(session.agent, session.resource)
        key: Any = (id(facts), id(subject), operation.text) if self._by_text else (id(facts), id(subject))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        bench = Bench(self._fixed_reads, operation, session, now)
        known = _Known(facts, subject, tuple(bench.answer(rule.condition) for rule in self._fixed), {})
        if self._simple:
            known.verdicts[None] = self._verdict(known.answers, (), frozenset())
        if len(self._known) >= MAX_KNOWN:
            self._known.popitem(last=False)
        self._known[key] = known
        return known

    def _subject(self, agent: Agent, resource: Resource) -> _Subject:
        """Sessions have an agent and a resource object each; equal ones share what is remembered."""
        key = (id(agent), id(resource))
        entry = self._subjects.get(key)
        if entry is not None:
            self._subjects.move_to_end(key)
            return entry[0]
        content = msgspec.json.encode((agent, resource))
        subject = self._equal_subjects.setdefault(content, _Subject())
        self._equal_subjects.move_to_end(content)
        self._subjects[key] = (subject, agent, resource)
        for table in (self._subjects, self._equal_subjects):
            if len(table) > MAX_SUBJECTS:
                table.popitem(last=False)
        return subject

    def _verdict(
        self, fixed: tuple[Answered, ...], changing: tuple[Answered, ...], exceeded: frozenset[str]
    ) -> Verdict:
        fixed_answers, changing_answers = iter(fixed), iter(changing)
        draft = Draft(exceeded)
        for rule in self.rules:
            answer, why = next(changing_answers if rule.condition.changing else fixed_answers)
            if answer is Answer.YES:
                draft.matched.append(rule.id)
                rule.action.apply(Statement(rule.id, rule.reason), rule.settings, draft)
            elif answer is Answer.ERROR:
                draft.matched.append(rule.id)
                draft.denials.append(Statement(rule.id, f"Its condition could not be answered: {why}."))
        return draft.verdict(self.digest, self.default, self.default_review)


def _reads(rules: list[Rule]) -> frozenset[tuple[str, str]]:
    return frozenset(read for rule in rules for read in rule.condition.reads)
