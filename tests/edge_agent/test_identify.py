"""Who may come in: a key that is known, current, and the named agent's own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_agent.bundle import Bundles
from edge_agent.gateway import IdentityRefusedError
from edge_agent.identify import FAILURES_AT_ONCE, AgentKeys, Identities
from gateway_kernel.contract import AgentKey, key_hash
from gateway_kernel.model import SECOND, Agent
from tests.edge_agent.conftest import settings_for
from tests.edge_agent.test_bundle import signed
from tests.support.control_plane import AGENT_KEY, EDGE

OLD, GONE = "spa_k2_" + "a" * 32, "spa_k3_" + "b" * 32
NOW = time.time_ns() // 1000


class Door:
    """Identities over a real bundle, and what was refused."""

    def __init__(self, directory: Path) -> None:
        (directory / "data").mkdir()
        self.clock = time.time()
        self.now = NOW
        self.refusals: list[tuple[str, str, str, str]] = []
        bundles = Bundles(settings_for(directory, "http://127.0.0.1:1"), EDGE, lambda: self.clock)
        keys = (
            AgentKey("k1", key_hash(AGENT_KEY), Agent("ci-bot")),
            AgentKey("k2", key_hash(OLD), Agent("ci-bot"), expires=NOW),
            AgentKey("k3", key_hash(GONE), Agent("ci-bot"), revoked=True),
        )
        bundles.accept(signed(keys=keys), "")
        self._identities = Identities(
            bundles, (AgentKeys(bundles),), lambda: self.now, lambda *refusal: self.refusals.append(refusal)
        )

    async def knock(self, name: str, secret: str, peer: str = "10.0.0.1:5000") -> Agent:
        return await self._identities.identify(name, secret, resource="orders-db", peer=peer)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


async def test_a_known_key_is_its_agent(door: Door) -> None:
    """With the name, or where the protocol has none."""
    assert (await door.knock("ci-bot", AGENT_KEY)).name == "ci-bot"
    assert (await door.knock("", AGENT_KEY)).name == "ci-bot"
    assert door.refusals == []


@pytest.mark.parametrize(
    ("name", "secret", "said"),
    [
        ("ci-bot", "spa_k1_wrong", "not known here"),
        ("other", AGENT_KEY, "not known here"),
        ("ci-bot", "", "not known here"),
        ("ci-bot", OLD, "key k2 of agent ci-bot has expired"),
        ("ci-bot", GONE, "key k3 of agent ci-bot is revoked"),
    ],
)
async def test_every_other_key_is_refused_and_recorded(door: Door, name: str, secret: str, said: str) -> None:
    """An unknown name and a wrong key look the same from outside."""
    with pytest.raises(IdentityRefusedError, match=said):
        await door.knock(name, secret)
    assert len(door.refusals) == 1
    assert secret == "" or secret not in str(door.refusals)


async def test_a_key_given_as_the_name_is_not_recorded(door: Door) -> None:
    """People paste secrets into the wrong field."""
    with pytest.raises(IdentityRefusedError):
        await door.knock(AGENT_KEY, "x")
    assert AGENT_KEY not in str(door.refusals)


async def test_a_peer_that_guesses_is_slowed_down_and_others_are_not(door: Door) -> None:
    """Even its right key must wait then."""
    for number in range(FAILURES_AT_ONCE):
        with pytest.raises(IdentityRefusedError, match="not known"):
            await door.knock("ci-bot", "wrong", f"10.0.0.1:{number}")
    with pytest.raises(IdentityRefusedError, match="too many failed attempts"):
        await door.knock("ci-bot", AGENT_KEY)
    assert (await door.knock("ci-bot", AGENT_KEY, "10.0.0.2:1")).name == "ci-bot"
    door.now += 60 * SECOND
    assert (await door.knock("ci-bot", AGENT_KEY)).name == "ci-bot"


async def test_with_stale_revocations_nobody_comes_in(door: Door) -> None:
    """A key that was revoked meanwhile could not be told from one that was not."""
    door.clock += 301
    with pytest.raises(IdentityRefusedError, match="revocation_max_age"):
        await door.knock("ci-bot", AGENT_KEY)
