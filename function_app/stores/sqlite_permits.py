"""State changes of a review, its grant and the feeds of the edges, as functions on an open SQLite transaction.

A grant's table is called `permit`, because GRANT is a word of SQL. Which state follows which is `gateway_kernel.review` alone.
"""

import sqlite3

import msgspec

from function_app.stores.base import Review, StoreError
from function_app.stores.sqlite_rows import load
from function_app.stores.sqlite_unit import to_json
from gateway_kernel.audit import Outcome
from gateway_kernel.contract import Claim, Claimed, Settled
from gateway_kernel.grant import SignedGrant
from gateway_kernel.model import Instant
from gateway_kernel.review import Event, State, after


def move(
    db: sqlite3.Connection,
    review: Review,
    event: Event,
    now: Instant,
    reason: str = "",
    approvers: tuple[str, ...] | None = None,
) -> State:
    """Change the state by `event` and tell the edges of an end. An approval is told with its grant, by `issue`."""
    state = after(review.state, event)
    db.execute(
        "update review set state = ?, reason = ?, approvers_json = ?, settled = ? where id = ?",
        (state.value, reason, to_json(review.approvers if approvers is None else approvers), now, review.id),
    )
    if state in (State.DENIED, State.EXPIRED, State.WITHDRAWN):
        for row in db.execute("select edge from review_edge where review = ?", (review.id,)).fetchall():
            announce(db, review.id, row["edge"], state, reason, with_permit=False)
    return state


def announce(db: sqlite3.Connection, review: str, edge: str, state: State, reason: str, *, with_permit: bool) -> None:
    """Append to the feed of one edge."""
    db.execute(
        "insert into feed(edge, review, state, reason, with_permit) values(?, ?, ?, ?, ?)",
        (edge, review, state.value, reason, int(with_permit)),
    )


def require_edge(db: sqlite3.Connection, review: Review, edge: str) -> None:
    """`StoreError` not-found if no operation of this edge waits for the review: an edge learns nothing of others."""
    if not _of_edge(db, review.id, edge):
        raise StoreError("not-found", 404, f"There is no review {review.id!r} of edge {edge!r}.")


def issue(
    db: sqlite3.Connection, review: Review, signed: SignedGrant, grant: str, expires: Instant
) -> SignedGrant | None:
    """Insert or read the review's one grant."""
    row = db.execute("select signed_json from permit where review = ?", (review.id,)).fetchone()
    if row is not None:
        return msgspec.json.decode(row["signed_json"], type=SignedGrant)
    if review.state is not State.APPROVED:
        return None
    db.execute(
        "insert into permit(id, review, signed_json, expires) values(?, ?, ?, ?)",
        (grant, review.id, to_json(signed), expires),
    )
    db.execute("update review set grant_id = ? where id = ?", (grant, review.id))
    for edge in db.execute("select edge from review_edge where review = ?", (review.id,)).fetchall():
        announce(db, review.id, edge["edge"], State.APPROVED, review.reason, with_permit=True)
    return signed


def ran_out(db: sqlite3.Connection, grant: str, now: Instant) -> bool:
    return db.execute("select 1 from permit where id = ? and expires <= ?", (grant, now)).fetchone() is not None


def consume(db: sqlite3.Connection, edge: str, grant: str, claim: Claim, now: Instant) -> Claimed:
    """Give the grant to one operation, once. The same operation may ask again."""
    found = _permit(db, edge, grant)
    if found is None:
        return Claimed(ours=False, reason=f"There is no grant {grant!r} for edge {edge!r}.")
    permit, review = found
    if permit["used_by"]:
        return _used(permit, review, edge, claim)
    if _returned(db, grant, claim.operation):
        return Claimed(
            ours=False, reason=f"Operation {claim.operation} gave this grant back; another operation may use it."
        )
    if review.state is not State.APPROVED:
        return Claimed(
            ours=False, outcome=review.outcome, reason=f"Review {review.id} is {review.state}: {review.reason}"
        )
    if now >= permit["expires"]:
        move(db, review, Event.DEADLINE, now, "The grant was not used in time.")
        return Claimed(ours=False, reason=f"Grant {grant} has expired.")
    db.execute(
        "update permit set used_by = ?, used_edge = ?, used_session = ? where id = ?",
        (claim.operation, edge, claim.session, grant),
    )
    move(db, review, Event.CONSUME, now, review.reason)
    return Claimed(ours=True, by=claim.operation)


def release(db: sqlite3.Connection, edge: str, grant: str, claim: Claim) -> Claimed:
    """Take the grant back from an operation that sent nothing. The same operation may say so again, but never use it again."""
    found = _permit(db, edge, grant)
    if found is None:
        return Claimed(ours=False, reason=f"There is no grant {grant!r} for edge {edge!r}.")
    permit, review = found
    if _returned(db, grant, claim.operation):
        return Claimed(ours=True, by=claim.operation)
    if (permit["used_by"], permit["used_edge"]) != (claim.operation, edge):
        return _used(permit, review, edge, claim)
    if review.state is not State.USED:
        return Claimed(
            ours=False, by=claim.operation, outcome=review.outcome, reason=f"Review {review.id} is {review.state}."
        )
    _give_back(db, permit, review)
    return Claimed(ours=True, by=claim.operation)


def finish(
    db: sqlite3.Connection, edge: str, review: str, grant: str, operation: str, outcome: Outcome, at: Instant
) -> None:
    """The recording tells the outcome of the operation that used a grant. What the grant does not confirm changes nothing."""
    found = _permit(db, edge, grant)
    if found is None:
        return
    permit, row = found
    if row.id != review or (permit["used_by"], permit["used_edge"]) != (operation, edge) or row.state is not State.USED:
        return
    if outcome is Outcome.NOT_SENT:
        _give_back(db, permit, row)
        return
    move(db, row, Event.OUTCOME, at, row.reason)
    db.execute("update review set outcome = ? where id = ?", (outcome.value, review))


def feed(db: sqlite3.Connection, edge: str, cursor: int, limit: int) -> tuple[int, tuple[Settled, ...]]:
    """What an edge has to hear after `cursor`."""
    rows = db.execute(
        "select f.cursor, f.review, f.state, f.reason, p.signed_json from feed f "
        "left join permit p on p.review = f.review and f.with_permit where f.edge = ? and f.cursor > ? order by f.cursor limit ?",
        (edge, cursor, limit),
    ).fetchall()
    settled = tuple(
        Settled(
            row["cursor"],
            row["review"],
            State(row["state"]),
            row["reason"],
            None if row["signed_json"] is None else msgspec.json.decode(row["signed_json"], type=SignedGrant),
        )
        for row in rows
    )
    return (settled[-1].cursor if settled else cursor), settled


def _give_back(db: sqlite3.Connection, permit: sqlite3.Row, review: Review) -> None:
    db.execute("insert or ignore into permit_returned values(?, ?)", (permit["id"], permit["used_by"]))
    db.execute("update permit set used_by = '', used_edge = '', used_session = '' where id = ?", (permit["id"],))
    move(db, review, Event.GIVE_BACK, review.settled, review.reason)


def _permit(db: sqlite3.Connection, edge: str, grant: str) -> tuple[sqlite3.Row, Review] | None:
    permit = db.execute("select * from permit where id = ?", (grant,)).fetchone()
    if permit is None or not _of_edge(db, permit["review"], edge):
        return None
    return permit, load(db, permit["review"])


def _of_edge(db: sqlite3.Connection, review: str, edge: str) -> bool:
    return db.execute("select 1 from review_edge where review = ? and edge = ?", (review, edge)).fetchone() is not None


def _returned(db: sqlite3.Connection, grant: str, operation: str) -> bool:
    sql = "select 1 from permit_returned where permit = ? and operation = ?"
    return db.execute(sql, (grant, operation)).fetchone() is not None


def _used(permit: sqlite3.Row, review: Review, edge: str, claim: Claim) -> Claimed:
    by = permit["used_by"]
    if (by, permit["used_edge"]) == (claim.operation, edge):
        return Claimed(ours=True, by=by, outcome=review.outcome)
    reason = f"Operation {by} used this grant." if by else "Nobody uses this grant."
    return Claimed(ours=False, by=by, outcome=review.outcome, reason=reason)
