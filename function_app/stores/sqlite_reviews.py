"""Reviews, decisions and the outbox in SQLite. Each public method is one transaction; the rules are `gateway_kernel.review`."""

import hashlib
import sqlite3

from function_app.stores import sqlite_permits as permits
from function_app.stores.base import Alert, Asked, NewReview, Nudge, Opened, OutboxEntry, Review, StoreError, Swept
from function_app.stores.sqlite_rows import find, load, review_of
from function_app.stores.sqlite_unit import Sealer, Unit, to_json
from gateway_kernel.contract import Claim, Claimed, Settled
from gateway_kernel.grant import SignedGrant
from gateway_kernel.model import SECOND, Instant
from gateway_kernel.review import JOINABLE, Choice, Event, PersonDecision, State, tally

LOST_AFTER = 5 * SECOND
"""A review that its orchestration has not judged, digested or granted for so long is nudged by the sweep."""
SWEEP = 500
"""Rows of each kind that one sweep handles."""


class SqliteReviews:
    """The reviews on one database."""

    def __init__(self, unit: Unit, sealer: Sealer) -> None:
        self._unit = unit
        self._sealer = sealer

    async def submit(self, new: NewReview, payload: bytes, limit: int) -> Opened:
        return await self._unit.write("submit", lambda db: self._submit(db, new, payload, limit))

    def _submit(self, db: sqlite3.Connection, new: NewReview, payload: bytes, limit: int) -> Opened:
        same = (new.agent, new.resource, new.digest)
        row = db.execute(
            "select id from review where agent = ? and resource = ? and digest = ? order by serial desc limit 1", same
        ).fetchone()
        before = None if row is None else brought_up_to(db, row["id"], new.opened)
        if before is not None:
            repeated = (before.edge, before.operation) == (new.edge, new.operation)
            if repeated or before.state in JOINABLE:
                return Opened(_joined(db, before, new.edge), joined=True)
        (waiting,) = db.execute(
            "select count(*) from review where agent = ? and state = 'open'", (new.agent,)
        ).fetchone()
        if waiting >= limit:
            raise StoreError(
                "review-limit",
                429,
                f"Agent {new.agent!r} has {waiting} open reviews, which is the most it may have; wait for people, or withdraw one.",
            )
        (count,) = db.execute(
            "select count(*) from review where agent = ? and resource = ? and digest = ?", same
        ).fetchone()
        (serial,) = db.execute("select coalesce(max(serial), 0) + 1 from review").fetchone()
        identifier = "r" + hashlib.sha256("\0".join((*same, str(count))).encode()).hexdigest()[:20]
        db.execute(
            "insert into review(id, edge, agent, resource, protocol, digest, session, operation, opened, state, sealed, preview, "
            "identical_to, identical_outcome, serial) values(?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?, ?)",
            (
                identifier,
                new.edge,
                new.agent,
                new.resource,
                new.protocol,
                new.digest,
                new.session,
                new.operation,
                new.opened,
                self._sealer.seal(payload, identifier),
                self._sealer.seal(new.preview.encode(), f"{identifier}:preview"),
                "" if before is None else before.id,
                "" if before is None else before.outcome or before.state.value,
                serial,
            ),
        )
        db.execute("insert into review_edge(review, edge) values(?, ?)", (identifier, new.edge))
        return Opened(load(db, identifier), joined=False)

    async def get(self, review: str) -> Review | None:
        return await self._unit.read(lambda db: find(db, review))

    async def payload(self, review: str) -> bytes:
        row = await self._unit.read(
            lambda db: db.execute("select sealed from review where id = ?", (review,)).fetchone()
        )
        if row is None:
            raise StoreError("not-found", 404, f"There is no review {review!r}.")
        return self._sealer.unseal(row["sealed"], review)

    async def listed(self, *, state: str, agent: str, limit: int, after: str) -> list[Review]:
        sql = (
            "select * from review where (:state = '' or state = :state) and (:agent = '' or agent = :agent) and (:after = '' or serial < "
            "(select serial from review where id = :after)) order by serial desc limit :limit"
        )
        values = {"state": state, "agent": agent, "after": after, "limit": limit}
        return await self._unit.read(lambda db: [review_of(row) for row in db.execute(sql, values)])

    async def open_review(self, review: str, asked: Asked, alert: str) -> Review:
        def work(db: sqlite3.Connection) -> Review:
            changed = db.execute(
                "update review set asked_json = ?, expire = ?, alert = ? where id = ? and asked_json is null",
                (to_json(asked), asked.due.expire, alert, review),
            ).rowcount
            if changed and alert:
                _raise_alert(db, asked.due.opened, review, alert)
            return load(db, review)

        return await self._unit.write("open_review", work)

    async def settle_denied(self, review: str, reason: str, alert: str, at: Instant) -> Review:
        def work(db: sqlite3.Connection) -> Review:
            row = load(db, review)
            if row.state is State.OPEN:
                permits.move(db, row, Event.DENY, at, reason)
                db.execute("update review set alert = ? where id = ?", (alert, review))
                if alert:
                    _raise_alert(db, at, review, alert)
            return load(db, review)

        return await self._unit.write("settle_denied", work)

    async def decide(self, review: str, decision: PersonDecision, link: str = "") -> Review:
        name = "decide_by_link" if link else "decide"
        row, counted = await self._unit.write(name, lambda db: _decide(db, review, decision, link))
        if not counted:  # raised here, not in the transaction: a deadline that it found passed has to be kept
            reason = row.reason or "nothing is left to decide"
            raise StoreError("settled", 409, f"Review {review} is {row.state} already: {reason}")
        return row

    async def decisions(self, review: str) -> list[PersonDecision]:
        return await self._unit.read(lambda db: _decisions(db, review))

    async def tally(self, review: str, now: Instant) -> Review:
        def work(db: sqlite3.Connection) -> Review:
            row = brought_up_to(db, review, now)
            db.execute("update decision set digested = 1 where review = ?", (review,))
            return row

        return await self._unit.write("tally", work)

    async def issue_grant(self, review: str, signed: SignedGrant, grant: str, expires: Instant) -> SignedGrant | None:
        return await self._unit.write(
            "issue_grant", lambda db: permits.issue(db, load(db, review), signed, grant, expires)
        )

    async def consume(self, edge: str, grant: str, claim: Claim, now: Instant) -> Claimed:
        return await self._unit.write("consume", lambda db: permits.consume(db, edge, grant, claim, now))

    async def release(self, edge: str, grant: str, claim: Claim) -> Claimed:
        return await self._unit.write("release", lambda db: permits.release(db, edge, grant, claim))

    async def withdraw(self, edge: str, review: str, claim: Claim, now: Instant) -> Review:
        def work(db: sqlite3.Connection) -> Review:
            row = load(db, review)
            permits.require_edge(db, row, edge)
            db.execute("update review_edge set withdrawn = 1 where review = ? and edge = ?", (review, edge))
            left = db.execute("select 1 from review_edge where review = ? and not withdrawn", (review,)).fetchone()
            if left is None and row.state in JOINABLE:
                permits.move(db, row, Event.WITHDRAW, now, f"Withdrawn by the agent (operation {claim.operation}).")
            return load(db, review)

        return await self._unit.write("withdraw", work)

    async def feed(self, edge: str, after: int, limit: int) -> tuple[int, tuple[Settled, ...]]:
        return await self._unit.read(lambda db: permits.feed(db, edge, after, limit))

    async def sweep(self, now: Instant) -> Swept:
        return await self._unit.write("sweep", lambda db: _sweep(db, now))

    async def alerts(self, limit: int) -> list[Alert]:
        sql = "select * from alert order by id desc limit ?"
        return await self._unit.read(lambda db: [Alert(*row) for row in db.execute(sql, (limit,))])

    async def outbox_claim(self, review: str, step: str, notifier: str, now: Instant) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            db.execute(
                "insert or ignore into outbox(review, step, notifier, claimed) values(?, ?, ?, ?)",
                (review, step, notifier, now),
            )
            sql = "select sent from outbox where review = ? and step = ? and notifier = ?"
            return not db.execute(sql, (review, step, notifier)).fetchone()["sent"]

        return await self._unit.write("outbox_claim", work)

    async def outbox_sent(self, review: str, step: str, notifier: str, now: Instant) -> None:
        sql = "update outbox set sent = ? where review = ? and step = ? and notifier = ?"
        await self._unit.write("outbox_sent", lambda db: db.execute(sql, (now, review, step, notifier)))

    async def add_link(self, token_hash: str, review: str, person: str, expires: Instant) -> None:
        sql = "insert or ignore into link(hash, review, person, expires) values(?, ?, ?, ?)"
        await self._unit.write("add_link", lambda db: db.execute(sql, (token_hash, review, person, expires)))

    async def link_open(self, token_hash: str, review: str, person: str, now: Instant) -> bool:
        sql = "select 1 from link where hash = ? and review = ? and person = ? and not used and expires > ?"
        return await self._unit.read(
            lambda db: db.execute(sql, (token_hash, review, person, now)).fetchone() is not None
        )


def brought_up_to(db: sqlite3.Connection, review: str, now: Instant) -> Review:
    """Apply the decisions stored and the deadlines passed, and return the review as it then stands."""
    row = load(db, review)
    if row.state is State.APPROVED:
        if row.grant and permits.ran_out(db, row.grant, now):
            permits.move(db, row, Event.DEADLINE, now, "The grant was not used in time.")
    elif row.state is State.OPEN and row.asked is not None:
        result = tally(
            row.asked.terms,
            _decisions(db, review),
            eligible=_eligible(row.asked, now),
            owners=frozenset(row.asked.owners),
        )
        if result.event is not None:
            permits.move(db, row, result.event, now, result.reason, result.approvers)
        elif now >= row.asked.due.expire:
            permits.move(db, row, Event.DEADLINE, now, "Nobody decided in time.")
        elif result.approvers != row.approvers:
            db.execute("update review set approvers_json = ? where id = ?", (to_json(result.approvers), review))
    return load(db, review)


def _joined(db: sqlite3.Connection, review: Review, edge: str) -> Review:
    """Another waiter: its edge hears of the end, and at once of a grant that is there already."""
    db.execute(
        "insert into review_edge(review, edge) values(?, ?) on conflict(review, edge) do update set withdrawn = 0",
        (review.id, edge),
    )
    if review.state is State.APPROVED and review.grant:
        permits.announce(db, review.id, edge, review.state, "", with_permit=True)
    elif review.state not in JOINABLE:
        permits.announce(db, review.id, edge, review.state, review.reason, with_permit=False)
    return review


def _decide(db: sqlite3.Connection, review: str, decision: PersonDecision, link: str) -> tuple[Review, bool]:
    """Store the decision and apply it; False if the review was over before."""
    row = brought_up_to(db, review, decision.at)
    there = db.execute("select * from decision where id = ?", (decision.id,)).fetchone()
    if there is not None:
        if (there["review"], there["person"], there["choice"]) != (review, decision.person, decision.choice.value):
            raise StoreError(
                "decision-id-reused", 409, f"Decision id {decision.id!r} was used for another decision; make a new one."
            )
        return row, True
    if row.state is not State.OPEN:
        return row, False
    if row.asked is None:
        raise StoreError("not-open-yet", 409, f"Review {review} is still being judged; try again in a moment.")
    _require_eligible(row.asked, decision)
    if (
        link
        and not db.execute(
            "update link set used = 1 where hash = ? and review = ? and person = ? and not used and expires > ?",
            (link, review, decision.person, decision.at),
        ).rowcount
    ):
        raise StoreError("link-used", 410, "This link was used already or has expired; sign in to decide.")
    earlier = db.execute(
        "select choice from decision where review = ? and person = ?", (review, decision.person)
    ).fetchone()
    if earlier is not None and (earlier["choice"], decision.choice) != (Choice.APPROVE, Choice.DENY):
        raise StoreError(
            "decided-already", 409, f"{decision.person} has decided review {review} already: {earlier['choice']}."
        )
    db.execute(
        "insert or replace into decision(id, review, person, choice, at, reason) values(?, ?, ?, ?, ?, ?)",
        (decision.id, review, decision.person, decision.choice.value, decision.at, decision.reason),
    )
    return brought_up_to(db, review, decision.at), True


def _require_eligible(asked: Asked, decision: PersonDecision) -> None:
    person = decision.person.lower()
    if person in asked.owners and not asked.terms.owners_may_approve:
        raise StoreError("owner", 403, f"{person} owns the agent that asks, so somebody else has to decide.")
    if person not in _eligible(asked, decision.at):
        raise StoreError(
            "not-eligible",
            403,
            f"{person} is not one of the approvers that the policy asks for here: {', '.join(asked.terms.approvers)}.",
        )


def _eligible(asked: Asked, now: Instant) -> frozenset[str]:
    escalated = asked.due.escalate is not None and now >= asked.due.escalate
    return frozenset(asked.eligible + (asked.escalated if escalated else ()))


def _decisions(db: sqlite3.Connection, review: str) -> list[PersonDecision]:
    return [
        PersonDecision(row["id"], row["person"], Choice(row["choice"]), row["at"], row["reason"])
        for row in db.execute("select * from decision where review = ? order by rowid", (review,))
    ]


def _raise_alert(db: sqlite3.Connection, at: Instant, review: str, detail: str) -> None:
    db.execute("insert into alert(at, kind, review, detail) values(?, 'verdict-mismatch', ?, ?)", (at, review, detail))


def _sweep(db: sqlite3.Connection, now: Instant) -> Swept:
    overdue = [
        row["id"]
        for row in db.execute(
            "select id from review where state = 'open' and expire <= ? union all "
            "select r.id from review r join permit p on p.review = r.id where r.state = 'approved' and p.expires <= ? limit ?",
            (now, now, SWEEP),
        ).fetchall()
    ]
    expired = tuple(review for review in overdue if brought_up_to(db, review, now).state is State.EXPIRED)
    before = now - LOST_AFTER
    lost = db.execute(
        "select id from review where state = 'open' and asked_json is null and opened < ? union "
        "select id from review where state = 'approved' and grant_id = '' and settled < ? limit ?",
        (before, before, SWEEP),
    ).fetchall()
    undigested = db.execute(
        "select distinct review from decision where digested = 0 and at < ? limit ?", (before, SWEEP)
    ).fetchall()
    unsent = db.execute(
        "select review, step, notifier from outbox where sent = 0 and claimed < ? limit ?", (before, SWEEP)
    ).fetchall()
    db.execute("delete from sign_in where expires <= ?", (now,))
    nudges = (
        {row["id"]: True for row in lost} | {row["review"]: False for row in undigested} | dict.fromkeys(expired, False)
    )
    return Swept(
        expired,
        tuple(Nudge(review, is_lost) for review, is_lost in nudges.items()),
        tuple(OutboxEntry(*row) for row in unsent),
    )
