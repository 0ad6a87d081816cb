"""The store: what each method does atomically, at times that the test chooses."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from function_app.keys import Keys
from function_app.stores.base import Asked, Due, NewReview, Review, StoreError
from function_app.stores.sqlite import Database, SqliteStore
from gateway_kernel.contract import Claim
from gateway_kernel.grant import Grant
from gateway_kernel.model import SECOND
from gateway_kernel.review import Choice, PersonDecision, State
from gateway_kernel.verdict import Escalation, ReviewTerms

NOON = 1_800_000_000 * SECOND
HOUR = 3600 * SECOND


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys")


@pytest.fixture
def store(tmp_path: Path, keys: Keys) -> Iterator[SqliteStore]:
    opened = SqliteStore(tmp_path / "store.db", keys)
    yield opened
    opened.close()


def submission(operation: str = "o1", *, edge: str = "edge", opened: int = NOON) -> NewReview:
    return NewReview(edge, "bot", "orders", "postgres", "d" * 64, "s1", operation, opened, "DELETE …")


async def opened(store: SqliteStore, terms: ReviewTerms | None = None) -> Review:
    """A judged review: Ann or Bob, Carol after half an hour, one approval, an hour."""
    terms = terms or ReviewTerms(("dba",), escalate=Escalation(1800, ("lead",)))
    review = (await store.reviews.submit(submission(), b"secret payload", 20)).review
    due = Due(NOON, NOON + HOUR, escalate=NOON + HOUR // 2)
    asked = Asked(terms, due, ("ann", "bob"), ("carol",), ("owner",), ("rule",), "why", "p", "DELETE", ())
    return await store.reviews.open_review(review.id, asked, "")


def decision(person: str, at: int, choice: Choice = Choice.APPROVE) -> PersonDecision:
    return PersonDecision(f"{person}-{at}", person, choice, at)


async def granted(store: SqliteStore, keys: Keys, review: str, expires: int) -> str:
    """Approve by Ann and issue a grant."""
    await store.reviews.decide(review, decision("ann", NOON + 1))
    grant = Grant(f"g-{review}", review, "d" * 64, "bot", "orders", NOON, expires, ("ann",), "p")
    assert await store.reviews.issue_grant(review, keys.sign_grant(grant), grant.id, expires) is not None
    return grant.id


async def test_a_decision_after_the_deadline_finds_the_review_expired(store: SqliteStore):
    """Even if no timer ever fired: the store decides."""
    review = await opened(store)
    with pytest.raises(StoreError, match="expired already: Nobody decided in time"):
        await store.reviews.decide(review.id, decision("ann", NOON + HOUR))
    found = await store.reviews.get(review.id)
    assert found is not None
    assert found.state is State.EXPIRED


async def test_who_is_asked_by_escalation_may_decide_only_then(store: SqliteStore):
    """Carol at 29 minutes is a stranger, at 30 an approver."""
    review = await opened(store)
    with pytest.raises(StoreError, match="not one of the approvers"):
        await store.reviews.decide(review.id, decision("carol", NOON + HOUR // 2 - 1))
    assert (await store.reviews.decide(review.id, decision("carol", NOON + HOUR // 2))).state is State.APPROVED


async def test_opening_twice_keeps_the_first_times_and_issuing_twice_the_first_grant(store: SqliteStore, keys: Keys):
    """Activities run again after a crash."""
    review = await opened(store)
    assert review.asked is not None
    later = Asked(review.asked.terms, Due(NOON, NOON + 9 * HOUR), (), (), (), (), "", "", "", ())
    assert (await store.reviews.open_review(review.id, later, "alert")).asked == review.asked
    first = await granted(store, keys, review.id, NOON + HOUR)
    other = Grant("g-other", review.id, "d" * 64, "bot", "orders", NOON, NOON + HOUR, ("ann",), "p")
    stored = await store.reviews.issue_grant(review.id, keys.sign_grant(other), other.id, NOON + HOUR)
    assert stored is not None
    assert first.encode() in stored.payload
    _, settled = await store.reviews.feed("edge", 0, 10)
    assert len(settled) == 1


async def test_a_grant_that_ran_out_expires_its_review(store: SqliteStore, keys: Keys):
    """Whoever looks first: a claim, the sweep, or the same operation again, which then opens a new review."""
    review = await opened(store)
    grant = await granted(store, keys, review.id, NOON + 60 * SECOND)
    claimed = await store.reviews.consume("edge", grant, Claim("o1", "s1"), NOON + 60 * SECOND)
    assert (claimed.ours, claimed.reason) == (False, f"Grant {grant} has expired.")
    again = await store.reviews.submit(submission("o2", opened=NOON + HOUR), b"x", 20)
    assert not again.joined
    assert (again.review.identical_to, again.review.identical_outcome) == (review.id, "expired")


async def test_the_sweep_finds_what_nobody_woke_up_for(store: SqliteStore):
    """Unjudged, undigested, approved without a grant, overdue: each after its time, and not before."""
    lost = (await store.reviews.submit(submission("o9"), b"x", 20)).review.id
    assert (await store.reviews.sweep(NOON + SECOND)).nudges == ()
    swept = await store.reviews.sweep(NOON + 10 * SECOND)
    assert [(nudge.review, nudge.lost) for nudge in swept.nudges] == [(lost, True)]
    review = await opened(store)  # joins it, and judges it
    assert (await store.reviews.sweep(NOON + 20 * SECOND)).nudges == ()
    await store.reviews.decide(review.id, decision("ann", NOON + 20 * SECOND))
    assert {nudge.review for nudge in (await store.reviews.sweep(NOON + 30 * SECOND)).nudges} == {review.id}


async def test_the_sweep_lets_overdue_reviews_expire_and_tells_the_edge(store: SqliteStore):
    """Without any orchestration."""
    review = await opened(store)
    assert (await store.reviews.sweep(NOON + HOUR)).expired == (review.id,)
    _, settled = await store.reviews.feed("edge", 0, 10)
    assert [one.state for one in settled] == [State.EXPIRED]


async def test_every_edge_that_waits_hears_of_the_end_and_one_withdrawing_does_not_end_it(store: SqliteStore):
    """The same agent may come through two edges; the review ends when the last of them gives up."""
    review = await opened(store)
    await store.reviews.submit(submission("o2", edge="second"), b"x", 20)
    assert (await store.reviews.withdraw("edge", review.id, Claim("o1", "s1"), NOON)).state is State.OPEN
    assert (await store.reviews.withdraw("second", review.id, Claim("o2", "s2"), NOON)).state is State.WITHDRAWN
    for edge in ("edge", "second"):
        _, settled = await store.reviews.feed(edge, 0, 10)
        assert [one.state for one in settled] == [State.WITHDRAWN]


async def test_joining_an_approved_review_delivers_its_grant_again(store: SqliteStore, keys: Keys):
    """An edge that lost its state still gets what was approved."""
    review = await opened(store)
    await granted(store, keys, review.id, NOON + HOUR)
    cursor, _ = await store.reviews.feed("edge", 0, 10)
    assert (await store.reviews.submit(submission("o2"), b"x", 20)).joined
    _, settled = await store.reviews.feed("edge", cursor, 10)
    assert [one.grant is not None for one in settled] == [True]


async def test_what_is_submitted_is_encrypted_and_bound_to_its_review(store: SqliteStore, tmp_path: Path):
    """Neither the file nor another row can show it."""
    review = await opened(store)
    assert await store.reviews.payload(review.id) == b"secret payload"
    store.close()
    assert b"secret payload" not in _files(tmp_path)


def _files(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("store.db*"))


async def test_a_write_that_fails_undoes_itself_and_not_its_neighbours(tmp_path: Path):
    """Writes of one commit are savepoints."""
    database = Database(tmp_path / "x.db")
    await database.write("make", lambda db: db.execute("create table t(n integer primary key) strict"))

    async def work(number: int, *, fails: bool) -> None:
        def insert(db: sqlite3.Connection) -> None:
            db.execute("insert into t values(?)", (number,))
            if fails:
                raise StoreError("no", 409, f"{number}")

        await database.write("insert", insert)

    answers = await asyncio.gather(
        *(work(number, fails=number % 3 == 0) for number in range(60)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, StoreError) for answer in answers) == 20
    rows = await database.read(lambda db: [row["n"] for row in db.execute("select n from t")])
    assert rows == [number for number in range(60) if number % 3]
    database.close()


async def test_a_closed_store_refuses_and_does_not_hang(tmp_path: Path):
    """After close everything asked before is durable, and nothing more is taken."""
    database = Database(tmp_path / "x.db")
    pending = asyncio.ensure_future(database.write("make", lambda db: db.execute("create table t(n)")))
    await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    await asyncio.wait_for(pending, 5)
    with pytest.raises(sqlite3.ProgrammingError):
        await database.write("late", lambda db: db.execute("select 1"))


def test_keys_are_made_once_and_shown_to_nobody(tmp_path: Path):
    """Restarting reads them; a damaged one stops the start; a rotated one still verifies."""
    first, second = Keys(tmp_path), Keys(tmp_path)
    assert first.key_id == second.key_id
    assert second.unseal(first.seal(b"x", "row"), "row") == b"x"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}
    assert "hidden" in repr(first)
    (tmp_path / "grant.key").rename(tmp_path / "grant-1.key")
    rotated = Keys(tmp_path)
    assert rotated.key_id != first.key_id
    assert set(rotated.public_keys) == {first.key_id, rotated.key_id}
    (tmp_path / "sealing.key").write_bytes(b"short")
    with pytest.raises(ValueError, match="must hold 32 bytes"):
        Keys(tmp_path)
