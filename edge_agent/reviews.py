"""The reviews that this worker's operations wait for: asked once, joined by the same operation, settled by one long
poll.

It knows who waits and what the control plane settled; what that means for an operation is the gate's affair
(`driver`). Approvals that nobody here waits for any more are kept, across restarts, so that the agent's retry can use
them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import msgspec

from edge_agent import failpoints
from edge_agent.bundle import Bundles
from edge_agent.control_client import Backoff, ControlClient, ControlPlaneError, RefusedError, UnavailableError, insist
from edge_agent.logs import Log
from edge_agent.segments import replace_file
from gateway_kernel.commands import (
    GRANT_MISMATCH,
    GRANT_USED,
    REVIEW_DENIED,
    REVIEW_EXPIRED,
    REVIEW_LIMIT,
    REVIEW_UNAVAILABLE,
    REVIEW_WITHDRAWN,
    VERDICT_MISMATCH,
    NotGranted,
)
from gateway_kernel.contract import Claim, Claimed, Settled, Submission
from gateway_kernel.errors import GrantError
from gateway_kernel.grant import Grant, SignedGrant, verify
from gateway_kernel.model import Instant
from gateway_kernel.review import State

log = Log(__name__)

GIVE_BACK_LIMIT = 3600.0  # seconds for which a grant that was surely not used is offered back
_REMEMBERED = 10_000  # settled reviews, newest kept

type Key = tuple[str, str, str]
"""Agent, resource, digest: what makes two operations the same."""

_RULES = {
    State.DENIED: REVIEW_DENIED,
    State.EXPIRED: REVIEW_EXPIRED,
    State.WITHDRAWN: REVIEW_WITHDRAWN,
    State.USED: GRANT_USED,
    State.FINISHED: GRANT_USED,
}
_REASONS = {
    State.DENIED: "An approver denied it.",
    State.EXPIRED: "Nobody decided in time.",
    State.WITHDRAWN: "It was withdrawn.",
    State.USED: "The grant of this review is used.",
    State.FINISHED: "The grant of this review is used.",
}
_PROBLEMS = {each: each for each in (REVIEW_LIMIT, VERDICT_MISMATCH, REVIEW_UNAVAILABLE, REVIEW_DENIED)}


class Waiter(Interface):
    """One operation that waits. Each of `granted` and `ended` is its last call."""

    def asked(self, review: str, url: str) -> None: ...

    def granted(self, signed: SignedGrant, grant: Grant) -> None: ...

    def ended(self, answer: NotGranted) -> None: ...


class _Review:
    """One review as this worker sees it."""

    def __init__(self, key: Key, submission: Submission) -> None:
        self.key = key
        self.submission = submission
        self.claim = Claim(submission.operation.id, submission.session.id)
        self.waiters: list[Waiter] = []
        self.winner: Waiter | None = None
        self.grant: SignedGrant | None = None
        self.id = self.url = ""
        self.unwanted = False  # the last waiter withdrew before the review had an id


class _Kept(msgspec.Struct):
    """What survives a restart: how far the feed was read, and the approvals not used yet."""

    cursor: int = 0
    approvals: list[Settled] = []


class Reviews:
    """The reviews of one worker. `path` is where its cursor and unused approvals are kept."""

    def __init__(self, client: ControlClient, bundles: Bundles, path: Path, now: Callable[[], Instant]) -> None:
        self._client = client
        self._bundles = bundles
        self._path = path
        self._now = now
        self._by_key: dict[Key, _Review] = {}
        self._by_id: dict[str, _Review] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._settled: dict[str, Settled] = {}
        self._opened: dict[str, str] = {}  # the reviews that were opened or joined here, and whose they are
        kept = _read_kept(path)
        self._cursor = kept.cursor
        for settled in kept.approvals:
            self._settled[settled.review] = settled
        self.problem = ""

    # -- waiting ------------------------------------------------------------------------------------------------------

    def ask(self, waiter: Waiter, key: Key, submission: Submission) -> None:
        """Join the open review of the same operation, or open one."""
        review = self._by_key.get(key)
        if review is not None:
            review.unwanted = False
            review.waiters.append(waiter)
            if review.id:
                waiter.asked(review.id, review.url)
                self._offer(review)
            return
        review = self._by_key[key] = _Review(key, submission)
        review.waiters.append(waiter)
        self._start(self._submit(review))

    def leave(self, waiter: Waiter, key: Key, *, withdraw: bool) -> None:
        """`waiter` no longer waits. With `withdraw`, the review is withdrawn if nobody else here waits for it."""
        review = self._by_key.get(key)
        if review is None or waiter not in review.waiters:
            return
        review.waiters.remove(waiter)
        if review.waiters or review.winner is not None:
            return
        if not review.id:
            review.unwanted = withdraw
            return
        self._forget(review)
        if withdraw:
            self._start(self._withdraw(review))

    def finished(self, waiter: Waiter, key: Key, outcome: str) -> None:
        """The waiter that held the grant is done; `outcome` is "" if it forwarded nothing, and the grant goes to the next one."""
        review = self._by_key.get(key)
        if review is None or review.winner is not waiter:
            return
        review.winner = None
        if outcome:
            self._settled.pop(review.id, None)
            reason = f"Another connection used the approval of review {review.id}; its outcome: {outcome}."
            self._end(review, GRANT_USED, reason)
        elif review.waiters:
            self._offer(review)
        else:
            self._forget(review)

    def state(self, review: str, agent: str) -> State | None:
        """Where a review of this agent stands, as far as this worker knows; None if it was neither opened nor joined here."""
        if self._opened.get(review) != agent:
            return None
        settled = self._settled.get(review)
        return State.OPEN if settled is None else settled.state

    async def consume(self, grant: str, claim: Claim) -> Claimed:
        """Use the grant up; repeated until it is certain, or `ControlPlaneError`."""
        return await insist(lambda: self._client.consume(grant, claim))

    def give_back(self, grant: str, claim: Claim) -> None:
        """Return a grant that was surely not used, in the background, for as long as the control plane takes to come back."""
        self._start(self._give_back(grant, claim))

    async def _submit(self, review: _Review) -> None:
        problem = self._client.clock_problem
        try:
            submitted = None if problem else await self._client.submit(review.submission)
        except RefusedError as refused:
            rule = _PROBLEMS.get(refused.problem.type.rpartition("/")[2], "")
            if not rule:
                rule = REVIEW_LIMIT if refused.problem.status == 429 else REVIEW_UNAVAILABLE
            self._end(review, rule, str(refused))
            return
        except UnavailableError as error:
            self._end(review, REVIEW_UNAVAILABLE, f"Nobody can be asked: {error}.")
            return
        problem = problem or self._client.clock_problem
        if submitted is None or problem:
            if submitted is not None:
                review.id = submitted.review
                self._start(self._withdraw(review))
            self._end(review, REVIEW_UNAVAILABLE, f"Nobody can be asked: {problem}.")
            return
        review.id, review.url = submitted.review, submitted.url
        self._by_id[review.id] = review
        self._opened[review.id] = review.key[0]
        if len(self._opened) > _REMEMBERED:
            del self._opened[next(iter(self._opened))]
        if review.unwanted and not review.waiters:
            self._forget(review)
            self._start(self._withdraw(review))
            return
        for waiter in tuple(review.waiters):
            waiter.asked(review.id, review.url)
        settled = self._settled.get(review.id)
        if settled is not None:
            self._settle(review, settled)
        elif submitted.state in _RULES:
            self._end(review, _RULES[submitted.state], _REASONS[submitted.state])
        elif not review.waiters:
            self._forget(review)

    def _settle(self, review: _Review, settled: Settled) -> None:
        if settled.state is State.APPROVED and settled.grant is not None:
            review.grant = settled.grant
            self._offer(review)
        elif settled.state in _RULES:
            self._end(review, _RULES[settled.state], settled.reason or _REASONS[settled.state])

    def _offer(self, review: _Review) -> None:
        """Give the grant to the waiter that is first in line, if it is free."""
        while review.grant is not None and review.winner is None and review.waiters:
            waiter = review.waiters.pop(0)
            agent, resource, digest = review.key
            try:
                grant = verify(
                    review.grant,
                    self._bundles.grant_keys,
                    operation_digest=digest,
                    agent=agent,
                    resource=resource,
                    now=self._now(),
                )
            except GrantError as error:
                waiter.ended(NotGranted(GRANT_MISMATCH, str(error), review.id, review.url))
                continue
            review.winner = waiter
            waiter.granted(review.grant, grant)

    def _end(self, review: _Review, rule: str, reason: str) -> None:
        self._forget(review)
        waiters, review.waiters = review.waiters, []
        for waiter in waiters:
            waiter.ended(NotGranted(rule, reason, review.id, review.url))

    def _forget(self, review: _Review) -> None:
        if self._by_key.get(review.key) is review:
            del self._by_key[review.key]
        self._by_id.pop(review.id, None)

    async def _withdraw(self, review: _Review) -> None:
        try:
            await insist(lambda: self._client.withdraw(review.id, review.claim))
        except ControlPlaneError as error:
            log.warning("a review could not be withdrawn", review=review.id, reason=str(error))

    async def _give_back(self, grant: str, claim: Claim) -> None:
        try:
            await insist(lambda: self._client.release(grant, claim), GIVE_BACK_LIMIT)
        except ControlPlaneError as error:
            log.fault("a grant could not be given back; it expires by itself", grant=grant, reason=str(error))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the feed -----------------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Read the feed of settled reviews for as long as this worker lives: one long poll, resumed after any outage."""
        backoff = Backoff()
        while True:
            try:
                feed = await self._client.decisions(self._cursor)
            except ControlPlaneError as error:
                self._trouble(str(error))
                await asyncio.sleep(backoff.pause())
                continue
            self._trouble("")
            backoff.reset()
            for settled in feed.settled:
                self._arrived(settled)
            if feed.cursor != self._cursor or feed.settled:
                self._cursor = feed.cursor
                await self._keep()

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem:
                log.warning("decisions cannot be read", reason=problem)
            else:
                log.info("decisions are read again")

    def _arrived(self, settled: Settled) -> None:
        failpoints.reach("settled:before")
        self._settled[settled.review] = settled
        while len(self._settled) > _REMEMBERED:
            del self._settled[next(iter(self._settled))]
        review = self._by_id.get(settled.review)
        if review is not None:
            self._settle(review, settled)
        failpoints.reach("settled:after")

    async def _keep(self) -> None:
        now = self._now()
        approvals = [each for each in self._settled.values() if each.grant is not None and _lives(each.grant, now)]
        data = msgspec.json.encode(_Kept(self._cursor, approvals))
        try:
            await asyncio.to_thread(replace_file, self._path, data)
        except OSError as error:  # the feed is read again from the older cursor after a restart, which is harmless
            log.warning("the cursor of decisions could not be kept", reason=str(error.strerror))

    @property
    def waiting(self) -> int:
        """Operations that wait for people now."""
        return sum(len(review.waiters) for review in self._by_key.values())

    def close(self) -> None:
        """Stop what runs in the background."""
        for task in self._tasks:
            task.cancel()


def _lives(signed: SignedGrant, now: Instant) -> bool:
    try:
        return msgspec.json.decode(signed.payload, type=Grant).expires > now
    except msgspec.DecodeError:
        return False


def _read_kept(path: Path) -> _Kept:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except FileNotFoundError:
        return _Kept()
    except msgspec.DecodeError:
        log.warning("the cursor of decisions is damaged; the feed is read from its beginning", file=path.name)
        return _Kept()
