"""What one session was told of the catalogue, and for how long it is believed.

Answers are kept until the session itself may have changed a definition, and `MAX_AGE` at most, because other sessions change things too. How
the questions are asked is `lookup`'s, what they are `catalogue`'s.
"""

import msgspec

from gateway_kernel.model import SECOND, Facts, Instant, Json
from gateway_kernel.parse.sql.catalogue import Catalogue, Question
from gateway_kernel.parse.sql.effects import changes_names, needs

MAX_AGE: Instant = 10 * SECOND
"""How long an answer is believed while this session itself changes no definitions."""

MAX_REMEMBERED = 1024
"""Texts and answers kept for one session; beyond it everything is asked anew."""


class _Gathered(msgspec.Struct):
    document: dict[str, Json]
    expires: Instant


class Answers:
    """What one session was told, for at most `max_age` microseconds, and until the session itself changes definitions.

    `gather` is what the engine calls for each text; the document that it gives is the same object while nothing changed, so that
    the reader's own cache knows it.
    """

    def __init__(self) -> None:
        self._answers: dict[Question, tuple[Json, Instant]] = {}
        self._gathered: dict[tuple[str, str], _Gathered] = {}
        self._changed_in_transaction = False

    def gather(self, text: str, now: Instant, bound: str = "") -> tuple[dict[str, Json], tuple[Question, ...]]:
        """Return the facts for `context["catalogue"]`, and what must be asked first: empty when the facts are whole.

        `bound` is the text behind an EXECUTE or FETCH, as in `context["statement"]`. Ask, `absorb` each answer, and gather again.
        """
        known = self._gathered.get((text, bound))
        if known is not None and now < known.expires:
            return known.document, ()
        document: dict[str, Json] = {}
        asked = now
        while wanted := needs(text, Catalogue(document), bound):
            missing = tuple(question for question in wanted if not self._known(question, now))
            if missing:
                return document, missing
            document = {kind: {**section} for kind, section in document.items()}
            for question in wanted:
                answer, at = self._answers[question]
                document.setdefault(question.kind, {})[question.key] = answer
                asked = min(asked, at)
        if known is not None and known.document == document:
            document = known.document
        if len(self._gathered) >= MAX_REMEMBERED:
            self._gathered.clear()
        self._gathered[text, bound] = _Gathered(document, asked + MAX_AGE)
        return document, ()

    def _known(self, question: Question, now: Instant) -> bool:
        found = self._answers.get(question)
        return found is not None and now < found[1] + MAX_AGE

    def absorb(self, question: Question, answer: str | None, now: Instant) -> None:
        """Remember the one value that the query gave; raise `msgspec.ValidationError` if it is not an answer."""
        if answer is None:
            raise msgspec.ValidationError(f"the catalogue gave no answer about {question.kind} {question.key}")
        value: Json = msgspec.json.decode(answer)
        Catalogue().knowing(question, value)
        if len(self._answers) >= MAX_REMEMBERED:
            self.forget()
        self._answers[question] = (value, now)

    def after(self, facts: Facts, *, in_transaction: bool) -> None:
        """Forget what an operation, now sent, may have changed. `in_transaction` says whether a transaction is open behind it."""
        if changes_names(facts.effects):
            self.forget()
            self._changed_in_transaction = in_transaction
        elif (
            self._changed_in_transaction
        ):  # what it defined, or where it looked, ends with the transaction or a part of it
            self.forget()
            self._changed_in_transaction = in_transaction

    def forget(self) -> None:
        """Ask everything anew: the role or the search path changed, or nobody knows what changed."""
        self._answers.clear()
        self._gathered.clear()
