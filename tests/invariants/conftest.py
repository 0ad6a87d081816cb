"""Every invariant runs against every protocol: one world for each module."""

from collections.abc import Iterator

import pytest

from sallyport.local_postgres import Postgres
from tests.support.world import World
from tests.support.worlds import WORLDS


@pytest.fixture(scope="module", params=WORLDS)
def world(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A running Sallyport seen through one protocol."""
    with WORLDS[request.param](tmp_path_factory.mktemp("world"), postgres) as found:
        yield found


@pytest.fixture(scope="module", params=WORLDS)
def stopped_world(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """The same, with an edge that the test starts."""
    with WORLDS[request.param](tmp_path_factory.mktemp("world"), postgres, start=False) as found:
        yield found
