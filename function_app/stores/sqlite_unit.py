"""What the parts of the SQLite backend need of the database and of the keys, and how structs become JSON columns."""

import sqlite3
from collections.abc import Callable
from typing import Protocol as Interface

import msgspec


class Unit(Interface):
    """The database as its parts see it."""

    async def write[T](self, name: str, work: Callable[[sqlite3.Connection], T]) -> T: ...

    async def read[T](self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class Sealer(Interface):
    """Encryption at rest."""

    def seal(self, plain: bytes, about: str) -> bytes: ...

    def unseal(self, sealed: bytes, about: str) -> bytes: ...


def to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def strings(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])
