"""One operation on its way through the gate: carries out what the gate asks and sends back the answers.

Record, seal, ask people, consume, forward, refuse. Only sealing, people and the control plane are waited for, by callback. Whatever
goes wrong before something was forwarded ends in a refusal. Who waits for the same review is known to `reviews`.
"""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from edge_agent import failpoints
from edge_agent.control_client import ControlPlaneError, RefusedError
from edge_agent.gateway import Channel
from edge_agent.logs import Log
from edge_agent.reviews import Key
from edge_agent.spool import SpoolError
from gateway_kernel.audit import Body, Decided, Finished, Outcome, operation_record, verdict_record
from gateway_kernel.commands import (
    GRANT_USED,
    REVIEW_PENDING,
    REVIEW_UNAVAILABLE,
    REVIEW_WITHDRAWN,
    Answer,
    AwaitGrant,
    Command,
    Consume,
    Consumed,
    Forward,
    Granted,
    NotGranted,
    Record,
    Refuse,
    Result,
)
from gateway_kernel.contract import VERSION, Claim, Submission, without_facts
from gateway_kernel.gate import Admission
from gateway_kernel.grant import Grant, SignedGrant
from gateway_kernel.model import Operation, Session
from gateway_kernel.verdict import Decision, Verdict, denial

if TYPE_CHECKING:
    from edge_agent.driver import Driver

log = Log(__name__)

NOTICE_EVERY = 30.0  # seconds between two notices to an agent that waits
SEAL_LIMIT = 10.0  # seconds until an operation whose record is not sealed is refused

# The edge's own rules, beside those of `gateway_kernel.commands`; docs/rules.md describes them all.
RECORDING_UNAVAILABLE = "recording-unavailable"
"""The recording cannot be written, so nothing is forwarded."""
POLICY_STALE = "policy-stale"
"""There is no policy, or it was not confirmed for longer than `policy_max_age`."""
INTERNAL_ERROR = "internal-error"
"""A defect of Sallyport; what it could not judge is refused."""


class _Unanswered(Enum):
    """The answer to a command is still to come."""

    YET = "yet"


_UNANSWERED = _Unanswered.YET


class Admitted:
    """One operation on its way; implements `gateway.Admitting` towards the room and `reviews.Waiter` towards the reviews."""

    __slots__ = (
        "_advancing",
        "_answer_now",
        "_channel",
        "_driver",
        "_forwarded",
        "_gate",
        "_grant",
        "_key",
        "_notice",
        "_operation",
        "_outcome",
        "_over",
        "_recorded",
        "_review",
        "_session",
        "_timer",
        "_url",
    )

    def __init__(self, driver: "Driver", operation: Operation, session: Session, channel: Channel) -> None:
        self._driver = driver
        self._operation = operation
        self._session = session
        self._channel = channel
        self._gate: Admission | None = None
        self._answer_now: Answer | _Unanswered = _UNANSWERED
        self._advancing = False
        self._recorded = False  # an event of this operation is written, so its end must be, too
        self._forwarded = False
        self._over = False
        self._outcome = ""
        self._key: Key | None = None
        self._grant: Grant | None = None
        self._review = self._url = ""
        self._timer: asyncio.TimerHandle | None = None
        self._notice: asyncio.TimerHandle | None = None

    # -- towards the room ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """True while people are being asked."""
        return self in self._driver.waiting

    def withdraw(self) -> None:
        """The agent cancelled: this waiter ends; the review is withdrawn if no other waiter is left."""
        if self.waiting:
            self._leave(withdraw=True)
            self._answer(NotGranted(REVIEW_WITHDRAWN, "The agent cancelled it.", self._review, self._url))

    def abandon(self) -> None:
        """The agent went away: this waiter ends, the review stands, and what was not sent yet is not sent any more."""
        if self._over or self._forwarded:
            return
        if self.waiting:
            self._leave(withdraw=False)
        self._close_unsent("the agent went away")

    def stop_waiting(self, reason: str) -> None:
        """End this waiter; the review stands."""
        self._leave(withdraw=False)
        if self._review:
            self._answer(NotGranted(REVIEW_PENDING, reason, self._review, self._url))
        else:
            self._answer(NotGranted(REVIEW_UNAVAILABLE, "The control plane did not answer in time; nobody was asked."))

    # -- the conversation with the gate -------------------------------------------------------------------------------

    def start(self, gate: Admission) -> None:
        """Begin; called once."""
        self._gate = gate
        self._advance(None)

    def refuse_unjudged(self, rule: str, reason: str) -> None:
        """Refuse before anything was judged."""
        verdict = denial(rule, reason)
        try:
            self._driver.recorder.record(
                self._session.id, Decided(operation_record(self._operation), verdict_record(verdict))
            )
        except SpoolError:
            self._driver.recorder.refused_unrecorded(self._session.id)
        self._refuse(Refuse(self._operation, verdict))
        self._finish()

    def _advance(self, answer: Answer) -> None:
        """Send the gate its answer and do what it asks next, until something must be waited for."""
        assert self._gate is not None
        self._advancing = True
        try:
            while not self._over:
                command = self._gate.send(answer)
                self._answer_now = _UNANSWERED
                self._perform(command)
                if self._answer_now is _UNANSWERED:
                    return
                answer = self._answer_now
        except StopIteration:
            self._finish()
        except Exception as error:  # noqa: BLE001 - a defect in judging must refuse this operation, not end the connection unseen
            self._broken(error)
        finally:
            self._advancing = False
            if self._over:
                self._gate.close()

    def _answer(self, answer: Answer) -> None:
        """The answer to the last command is here, now or later."""
        if self._over:
            return
        if self._advancing:
            self._answer_now = answer
        else:
            self._advance(answer)

    def _perform(self, command: Command) -> None:
        if isinstance(command, Record):
            self._record(command)
        elif isinstance(command, Forward):
            self._forward(command)
        elif isinstance(command, Refuse):
            self._refuse(command)
            self._answer(None)
        elif isinstance(command, AwaitGrant):
            self._ask(command)
        else:
            self._consume(command)

    # -- recording ----------------------------------------------------------------------------------------------------

    def _record(self, command: Record) -> None:
        recorder, session, events = self._driver.recorder, self._session.id, command.events
        if self._forwarded:
            recorder.owe(session, *events)
            failpoints.reach("outcome:after")
            self._answer(None)
            return
        try:
            recorder.record(session, *events)
        except SpoolError as error:
            self._unrecordable(events, str(error))
            return
        self._recorded = not _denies(events[-1])
        if not command.seal:
            self._answer(None)
            return
        self._timer = asyncio.get_running_loop().call_later(SEAL_LIMIT, self._sealed, "it was not sealed in time")
        recorder.seal(self._sealed)

    def _sealed(self, failure: str) -> None:
        if self._over or self._timer is None:
            return  # the agent went away, or the limit ran out before
        self._timer.cancel()
        self._timer = None
        if failure:
            self._refuse_unrecorded(failure)
        else:
            self._answer(None)

    def _unrecordable(self, events: tuple[Body, ...], reason: str) -> None:
        if _denies(events[-1]):  # it is refused anyway; that it was is told when the disk takes it again
            self._refusal_unrecorded()
            self._answer(None)
        else:
            self._refuse_unrecorded(reason)

    def _refuse_unrecorded(self, reason: str) -> None:
        verdict = denial(RECORDING_UNAVAILABLE, f"It was not forwarded, because it cannot be recorded: {reason}.")
        self._refuse(Refuse(self._operation, verdict))
        if not self._recorded:
            self._refusal_unrecorded()
        self._close_unsent("it could not be recorded")

    def _refusal_unrecorded(self) -> None:
        if self._recorded:
            self._driver.recorder.owe(self._session.id, self._not_sent("refused"))
        else:
            self._driver.recorder.refused_unrecorded(self._session.id)

    def _not_sent(self, why: str) -> Finished:
        return Finished(self._operation.id, Outcome.NOT_SENT, why)

    def _close_unsent(self, why: str) -> None:
        """End without having sent anything, and say so in the recording; a grant in hand goes back."""
        if self._recorded:
            self._driver.recorder.owe(self._session.id, self._not_sent(why))
        if self._grant is not None:
            self._driver.reviews.give_back(self._grant.id, Claim(self._operation.id, self._session.id))
        self._finish()

    # -- people -------------------------------------------------------------------------------------------------------

    def _ask(self, command: AwaitGrant) -> None:
        driver, session, judgement = self._driver, self._session, command.judgement
        now = driver.now()
        session.reviews += 1
        driver.usage.add(session, "reviews", 1, now)
        driver.counts.reviews += 1
        driver.waiting.add(self)
        self._key = (session.agent.name, session.resource.name, command.digest)
        self._timer = asyncio.get_running_loop().call_later(self._channel.hold, self._hold_ran_out)
        submission = Submission(
            v=VERSION,
            edge=driver.edge,
            session=session,
            operation=without_facts(judgement.operation),
            digest=command.digest,
            decision=judgement.verdict.decision,
            rules=judgement.verdict.rules,
            policy=judgement.verdict.policy,
            now=now,
            original=without_facts(judgement.original) if judgement.original else None,
        )
        driver.reviews.ask(self, self._key, submission)

    def asked(self, review: str, url: str) -> None:
        """The review is open: tell the agent now, and every 30 seconds."""
        self._review, self._url = review, url
        if self.waiting:
            self._channel.waiting(review, url)
            self._notice = asyncio.get_running_loop().call_later(NOTICE_EVERY, self.asked, review, url)

    def granted(self, signed: SignedGrant, grant: Grant) -> None:
        """People approved, and this waiter is the one to use the grant."""
        driver = self._driver
        self._stop_timers()
        stale = driver.bundles.policy_stale()
        if stale or driver.bundles.policy is None:
            self._answer(NotGranted(POLICY_STALE, stale, self._review, self._url))
            return
        now = driver.now()
        driver.usage.fill(self._session, now)
        self._answer(Granted(signed, grant, driver.bundles.policy, now))

    def ended(self, answer: NotGranted) -> None:
        """There will be no grant for this waiter."""
        self._stop_timers()
        self._answer(answer)

    def _hold_ran_out(self) -> None:
        self.stop_waiting("People are still being asked. Send the same operation again to join the review.")

    def _leave(self, *, withdraw: bool) -> None:
        self._stop_timers()
        if self._key is not None:
            self._driver.reviews.leave(self, self._key, withdraw=withdraw)

    def _stop_timers(self) -> None:
        self._driver.waiting.discard(self)
        for timer in (self._timer, self._notice):
            if timer is not None:
                timer.cancel()
        self._timer = self._notice = None

    def _consume(self, command: Consume) -> None:
        task = asyncio.get_running_loop().create_task(self._consumed(command))
        self._driver.background.add(task)
        task.add_done_callback(self._driver.background.discard)

    async def _consumed(self, command: Consume) -> None:
        grant, claim = command.grant, Claim(self._operation.id, self._session.id)
        reviews = self._driver.reviews
        try:
            claimed = await reviews.consume(grant.id, claim)
        except ControlPlaneError as error:
            if not isinstance(error, RefusedError):
                reviews.give_back(grant.id, claim)  # nobody knows whether it was taken
            self._answer(
                NotGranted(REVIEW_UNAVAILABLE, f"The approval could not be used: {error}.", grant.review, self._url)
            )
            return
        if claimed.ours:
            if self._over:
                reviews.give_back(grant.id, claim)
            self._grant = grant
            self._answer(Consumed())
            return
        outcome = f"; its outcome: {claimed.outcome}" if claimed.outcome else ""
        reason = claimed.reason or f"The approval was used by operation {claimed.by}{outcome}."
        self._answer(NotGranted(GRANT_USED, reason, grant.review, self._url))

    # -- upstream and agent -------------------------------------------------------------------------------------------

    def _forward(self, command: Forward) -> None:
        self._forwarded = True
        self._driver.forwarding(self._session, self._driver.now())
        if failpoints.armed:
            failpoints.reach("forward:before")
        self._channel.forward(command.judgement, command.max_rows, self._done)
        if failpoints.armed:
            failpoints.reach("forward:after")

    def _done(self, result: Result) -> None:
        if self._outcome or self._over:
            return
        if failpoints.armed:
            failpoints.reach("outcome:before")
        self._outcome = result.outcome.value
        self._driver.finished(self._operation, self._session, result.finished, self._driver.now())
        self._answer(result)

    def _refuse(self, command: Refuse) -> None:
        self._driver.counts.refused(command.verdict.rules)
        failpoints.reach("refuse:before")
        self._channel.refuse(command)
        failpoints.reach("refuse:after")

    def _broken(self, error: Exception) -> None:
        """A defect: nothing more is sent, and the recording says what is known."""
        log.fault(
            "an operation could not be led through the gate; it is refused", failure=error, operation=self._operation.id
        )
        verdict = denial(INTERNAL_ERROR, "Sallyport could not judge it; the operators' log says why.")
        if self._forwarded:
            if not self._outcome:
                end = Finished(self._operation.id, Outcome.UNKNOWN, INTERNAL_ERROR)
                self._driver.recorder.owe(self._session.id, end)
            self._finish()
            return
        self._record_broken(verdict)
        try:
            self._channel.refuse(Refuse(self._operation, verdict))
        except Exception as second:  # noqa: BLE001 - the room failed as well; there is nobody left to tell
            log.fault("the refusal could not be told", failure=second, operation=self._operation.id)
        self._finish()

    def _record_broken(self, verdict: Verdict) -> None:
        recorder, session = self._driver.recorder, self._session.id
        if self._recorded:
            recorder.owe(session, self._not_sent(INTERNAL_ERROR))
            return
        try:
            recorder.record(session, Decided(operation_record(self._operation), verdict_record(verdict)))
        except (SpoolError, ValueError, TypeError, msgspec.MsgspecError):
            recorder.refused_unrecorded(session)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._stop_timers()
        if self._gate is not None and not self._advancing:
            self._gate.close()
        if self._key is not None:
            self._driver.reviews.finished(self, self._key, self._outcome)


def _denies(body: Body) -> bool:
    return isinstance(body, Decided) and body.verdict.decision is Decision.DENY
