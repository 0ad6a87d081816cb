"""A module that says `PROTOCOL` runs its tests in that protocol's room, a line of that protocol's corpus each; no other room is opened."""

import pytest

from tests.bypass import http_room, postgres_room
from tests.bypass.attacked import Attacked
from tests.bypass.http_room import over_http as over_http
from tests.bypass.postgres_room import over_postgres as over_postgres

ROOMS = {"postgres": postgres_room, "http": http_room}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`attacked` is the protocol's product, `evasion` a line of its corpus, `twin` the benign text in it."""
    protocol: str = getattr(metafunc.module, "PROTOCOL", "")
    if not protocol:
        return
    room = ROOMS[protocol]
    if "attacked" in metafunc.fixturenames:
        metafunc.parametrize("attacked", [protocol], indirect=True)
    if "evasion" in metafunc.fixturenames:
        metafunc.parametrize("evasion", room.ATTACKS, ids=[evasion.attack for evasion in room.ATTACKS])
    if "twin" in metafunc.fixturenames:
        metafunc.parametrize("twin", [evasion.twin for evasion in room.TWINS])


@pytest.fixture(scope="module")
def attacked(request: pytest.FixtureRequest) -> Attacked:
    """The whole product around one upstream, seen through one protocol."""
    return request.getfixturevalue(f"over_{request.param}")
