"""Two worlds of canaries on the shared server."""

from typing import TYPE_CHECKING

import pytest

from tests.masking.canaries import World, populate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import Postgres


@pytest.fixture(scope="package")
def worlds(postgres: "Postgres") -> "Iterator[tuple[World, World]]":
    """The same rows twice, except what is masked."""
    names = [postgres.create_database() for _ in range(2)]
    with postgres.connect(names[0]) as one, postgres.connect(names[1]) as two:
        yield populate(one, 1), populate(two, 2)
    for name in names:
        postgres.drop_database(name)


@pytest.fixture
def world(worlds: tuple[World, World]) -> World:
    """The first world, where a test needs only one."""
    return worlds[0]
