"""A loaded policy: the verdict on an operation, and why.

Every rule is answered, in order; `obligations` makes one verdict of the answers. What a rule says of a statement, an agent and a
resource is remembered by the identity of the facts (a reader gives the same object for the same statement), so only rules
that ask for something that changes between executions are evaluated again. Loading is `document`'s part.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec

from gateway_kernel.model import Agent, Facts, Instant, Operation, Resource, Session
from gateway_kernel.policy.actions import cap
from gateway_kernel.policy.actions.action import Action, Groups
from gateway_kernel.policy.cases import Case
from gateway_kernel.policy.cel import Answer, Bench, Condition
from gateway_kernel.policy.obligations import BOTH, Draft, Statement
from gateway_kernel.policy.quick import Quick
from gateway_kernel.policy.source import Place
from gateway_kernel.verdict import Cap, Decision, ReviewTerms, Verdict

MAX_KNOWN = 4096  # statements x (agent, resource) whose answers are remembered, about 2 KB each; the oldest goes first
MAX_SUBJECTS = 4096  # (agent, resource) pairs
MAX_VERDICTS = 64  # for one remembered statement; more only if many changing rules take turns

type Answered = tuple[Answer, str]
type Said = bool | tuple[str, str]
"""An answer as a key: whether the rule matched, or the answer's name and why."""

_PLAIN = (Answer.YES, Answer.NO)
_NOTHING: tuple[Any, ...] = ()


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
    """What is remembered of a statement. Holds the facts, so that their identity is not given to another object.

    `answers` are of all rules in order, None for those of `pending`, which must be asked at each execution; `quick` answers them where
    all are that simple, else `reads` is what CEL must be given. `verdicts` is by what the pending rules and the caps said.
    """

    facts: Facts
    subject: _Subject
    answers: tuple[Answered | None, ...]
    pending: tuple[Rule, ...]
    quick: tuple[Quick, ...] | None
    reads: frozenset[tuple[str, str]]
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
        self._fixed_reads = _reads(rule for rule in rules if not rule.condition.changing)
        self._changing_reads = _reads(rule for rule in rules if rule.condition.changing)
        self._by_text = bool({("operation", "text"), ("operation", "*")} & (self._fixed_reads | self._changing_reads))
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
        """Return the verdict on `operation`, whose facts have been read.

        While nothing that a rule asks for has changed, it is the same object.
        """
        known = self._remembered(operation, session, now)
        said = _NOTHING if not known.pending else self._said(known, operation, session, now)
        exceeded = _NOTHING if not self.caps else self._exceeded(session)
        verdict = known.verdicts.get((said, exceeded))
        if verdict is None:
            verdict = self._verdict(known.answers, said, frozenset(exceeded))
            if len(known.verdicts) >= MAX_VERDICTS:
                known.verdicts.clear()
            known.verdicts[said, exceeded] = verdict
        return verdict

    def watched(self, operation: Operation, session: Session, now: Instant) -> tuple[tuple[Quick, Said], ...] | None:
        """What must be said again, as it is said now, for another execution of this very statement to get the same verdict.

        None if that cannot be told so simply: then `evaluate` says.
        """
        known = self._remembered(operation, session, now)
        if self.caps or self._by_text or known.quick is None:
            return None
        return tuple((quick, quick(operation, session, now)) for quick in known.quick)

    def _said(self, known: _Known, operation: Operation, session: Session, now: Instant) -> tuple[Said, ...]:
        """What the pending rules say now."""
        if known.quick is not None:
            return tuple([quick(operation, session, now) for quick in known.quick])
        bench = Bench(known.reads, operation, session, now) if known.reads else None
        said: list[Said] = []
        for rule in known.pending:
            condition = rule.condition
            if condition.quick is not None:
                said.append(condition.quick(operation, session, now))
                continue
            assert bench is not None
            answer, why = bench.answer(condition)
            said.append(answer is Answer.YES if answer in _PLAIN else (answer.value, why))
        return tuple(said)

    def _exceeded(self, session: Session) -> tuple[str, ...]:
        usage = session.usage
        return tuple([limit.rule for limit in self.caps if usage.get(limit.key, 0) >= limit.limit])

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
        entry = self._subjects.get((id(session.agent), id(session.resource)))
        subject = entry[0] if entry is not None else self._subject(session.agent, session.resource)
        facts = operation.facts
        key: Any = (id(facts), id(subject), operation.text) if self._by_text else (id(facts), id(subject))
        known = self._known.get(key)
        if known is not None:
            return known
        known = self._read(operation, session, now, subject)
        if len(self._known) >= MAX_KNOWN:
            self._known.popitem(last=False)
        self._known[key] = known
        return known

    def _read(self, operation: Operation, session: Session, now: Instant, subject: _Subject) -> _Known:
        """Answer every rule as far as the statement, the agent and the resource decide it."""
        fixed = Bench(self._fixed_reads, operation, session, now)
        answers: list[Answered | None] = []
        pending: list[Rule] = []
        for rule in self.rules:
            condition = rule.condition
            if not condition.changing:
                answers.append(fixed.answer(condition))
                continue
            # Without what changes CEL still answers where the rest decides alone: `false && unknown` is false, whatever comes.
            rest = frozenset(read for read in condition.reads if read[0] not in condition.changing)
            answer = Bench(rest, operation, session, now).answer(condition) if rest else None
            if answer is not None and answer[0] in _PLAIN:
                answers.append(answer)
            else:
                answers.append(None)
                pending.append(rule)
        reads = _reads(rule for rule in pending if rule.condition.quick is None)
        quick = tuple(rule.condition.quick for rule in pending if rule.condition.quick is not None)
        all_quick = quick if len(quick) == len(pending) else None
        return _Known(operation.facts, subject, tuple(answers), tuple(pending), all_quick, reads, {})

    def _subject(self, agent: Agent, resource: Resource) -> _Subject:
        """Sessions have an agent and a resource object each; equal ones share what is remembered."""
        content = msgspec.json.encode((agent, resource))
        subject = self._equal_subjects.setdefault(content, _Subject())
        self._subjects[id(agent), id(resource)] = (subject, agent, resource)
        for table in (self._subjects, self._equal_subjects):
            if len(table) > MAX_SUBJECTS:
                table.popitem(last=False)
        return subject

    def _verdict(
        self, answers: tuple[Answered | None, ...], said: tuple[Said, ...], exceeded: frozenset[str]
    ) -> Verdict:
        pending = iter(said)
        draft = Draft(exceeded)
        for rule, known in zip(self.rules, answers, strict=True):
            answer, why = _answered(next(pending)) if known is None else known
            if answer is Answer.YES:
                draft.matched.append(rule.id)
                rule.action.apply(Statement(rule.id, rule.reason), rule.settings, draft)
            elif answer is Answer.ERROR:
                draft.matched.append(rule.id)
                draft.denials.append(Statement(rule.id, f"Its condition could not be answered: {why}."))
        return draft.verdict(self.digest, self.default, self.default_review)


def _answered(said: Said) -> Answered:
    if isinstance(said, bool):
        return (Answer.YES if said else Answer.NO), ""
    return Answer(said[0]), said[1]


def _reads(rules: Iterable[Rule]) -> frozenset[tuple[str, str]]:
    return frozenset(read for rule in rules for read in rule.condition.reads)
