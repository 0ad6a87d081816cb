"""One running Sallyport for each protocol, which every test finds whole: what the invariants and the bad input run against."""

from collections.abc import Iterator

import pytest

from sallyport.local_postgres import Postgres
from tests.support.world import World
from tests.support.worlds import WORLDS


@pytest.fixture(scope="session", params=WORLDS)
def running(
    request: pytest.FixtureRequest, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A Sallyport seen through one protocol, for the whole test session."""
    with WORLDS[request.param](tmp_path_factory.mktemp("world"), postgres) as found:
        yield found


@pytest.fixture
def world(running: World) -> World:
    """The same, running as it should, with nothing to be seen of the tests before."""
    running.fresh()
    return running
