"""What one session was told of the catalogue, and for how long it is believed.

Answers are kept until the session itself may have changed a definition, and `MAX_AGE` at most, because other sessions change things too. How
the questions are asked is `lookup`'s, what they are `catalogue`'s.
"""

import msgspec

from gateway_kernel.model import SECOND, Facts, Instant, Json
from gateway_kernel.parse.sql.catalogue import Answer, Catalogue, Question, Unanswered
from gateway_kernel.parse.sql.effects import changes_names, needs

MAX_AGE: Instant = 10 * SECOND
"""How long an answer is believed while this session itself changes no definitions."""

MAX_REMEMBERED = 1024
"""Texts and answers kept for one session; beyond it everything is asked anew."""


class _Gathered(msgspec.Struct):
    document: dict[str, Json]
    expires: Instant


class _Watched(Catalogue):
    """A catalogue of all that is known, which notes what was looked up in it: only that belongs to the text at hand."""

    __slots__ = ("used",)

    def __init__(self, document: dict[str, Json]) -> None:
        super().__init__(document)
        self.used: dict[Question, None] = {}

    def answer(self, question: Question) -> Answer | Unanswered:
        self.used[question] = None
        return super().answer(question)

    def raw(self, question: Question) -> Json:
        """The answer to a question that was used, in its JSON form; a relation may be known by its full name alone."""
        section = self.document.get(question.kind, {})
        return section[question.key] if question.key in section else self._by_label()[question.key]


class Answers:
    """What one session was told, for at most `MAX_AGE`, and until the session itself changes definitions.

    `gather` is what the engine calls for each text; the document that it gives is the same object while nothing changed, so that
    the reader's own cache knows it.
    """

    def __init__(self) -> None:
        self._answers: dict[Question, tuple[Json, Instant]] = {}
        self._gathered: dict[tuple[str, str], _Gathered] = {}
        self._documents: dict[tuple[Question, ...], dict[str, Json]] = {}
        self._all: _Watched | None = None
        self._all_until: Instant = 0
        self._changed_in_transaction = False

    def gather(self, text: str, now: Instant, bound: str = "") -> tuple[dict[str, Json], tuple[Question, ...]]:
        """Return the facts for `context["catalogue"]`, and what must be asked first: empty when the facts are whole.

        `bound` is the text behind an EXECUTE or FETCH, as in `context["statement"]`. Ask, `absorb` each answer, and gather again.
        """
        known = self._gathered.get((text, bound))
        if known is not None and now < known.expires:
            return known.document, ()
        catalogue = self._everything(now)
        catalogue.used = {}
        missing = needs(text, catalogue, bound)
        if missing:
            return {}, missing
        used = tuple(catalogue.used)
        document = self._documents.get(used)
        if document is None:
            document = {}
            for question in used:
                document.setdefault(question.kind, {})[question.key] = catalogue.raw(question)
            if len(self._documents) >= MAX_REMEMBERED:
                self._documents.clear()
            self._documents[used] = document
        if len(self._gathered) >= MAX_REMEMBERED:
            self._gathered.clear()
        self._gathered[text, bound] = _Gathered(document, self._all_until)
        return document, ()

    def until(self, text: str) -> Instant:
        """Until when the facts of this text are believed while the session changes nothing; 0 if they are not known for good."""
        known = self._gathered.get((text, ""))
        return 0 if known is None or self._changed_in_transaction else known.expires

    def _everything(self, now: Instant) -> _Watched:
        """All answers that are young enough; made anew when one grew too old or a new one came."""
        if self._all is None or now >= self._all_until:
            self._answers = {asked: found for asked, found in self._answers.items() if now < found[1] + MAX_AGE}
            self._documents.clear()
            document: dict[str, Json] = {}
            for question, (answer, _) in self._answers.items():
                document.setdefault(question.kind, {})[question.key] = answer
            self._all = _Watched(document)
            self._all_until = min((at for _, at in self._answers.values()), default=now) + MAX_AGE
        return self._all

    def absorb(self, question: Question, answer: str | None, now: Instant) -> None:
        """Remember the one value that the query gave; raise `msgspec.ValidationError` if it is not an answer."""
        if answer is None:
            raise msgspec.ValidationError(f"the catalogue gave no answer about {question.kind} {question.key}")
        value: Json = msgspec.json.decode(answer)
        Catalogue().knowing(question, value)
        if len(self._answers) >= MAX_REMEMBERED:
            self.forget()
        self._answers[question] = (value, now)
        self._all = None

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
        self._documents.clear()
        self._all = None
