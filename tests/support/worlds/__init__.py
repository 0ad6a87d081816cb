"""The worlds: one line a protocol."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from tests.support.world import World
from tests.support.worlds.http import http_world
from tests.support.worlds.postgres import postgres_world

WORLDS: dict[str, Callable[..., AbstractContextManager[World]]] = {
    "postgres": postgres_world,
    "http": http_world,
}
