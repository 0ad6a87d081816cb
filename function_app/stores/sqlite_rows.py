"""Rows of the review table as structs."""

import sqlite3

import msgspec

from function_app.stores.base import Asked, Review, StoreError
from function_app.stores.sqlite_unit import strings
from gateway_kernel.review import State


def find(db: sqlite3.Connection, review: str) -> Review | None:
    row = db.execute("select * from review where id = ?", (review,)).fetchone()
    return None if row is None else review_of(row)


def load(db: sqlite3.Connection, review: str) -> Review:
    """The review; `StoreError` not-found if there is none."""
    row = find(db, review)
    if row is None:
        raise StoreError("not-found", 404, f"There is no review {review!r}.")
    return row


def review_of(row: sqlite3.Row) -> Review:
    asked = row["asked_json"]
    return Review(
        row["id"],
        row["edge"],
        row["agent"],
        row["resource"],
        row["protocol"],
        row["digest"],
        row["session"],
        row["operation"],
        row["opened"],
        State(row["state"]),
        None if asked is None else msgspec.json.decode(asked, type=Asked),
        row["reason"],
        strings(row["approvers_json"]),
        row["settled"],
        row["identical_to"],
        row["identical_outcome"],
        row["grant_id"],
        row["outcome"],
        row["alert"],
        row["preview"],
    )
