"""The bundle: whom it trusts, what it keeps, and when it is too old."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.bundle import BundleError, Bundles
from gateway_kernel.contract import (
    VERSION,
    AgentKey,
    Bundle,
    RegisteredResource,
    SignedBundle,
    bundle_bytes,
    encode,
    key_hash,
)
from gateway_kernel.model import Agent
from gateway_kernel.policy import load
from tests.edge_agent.conftest import settings_for
from tests.support.control_plane import AGENT_KEY, EDGE, POLICY

FIRST, SECOND = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
DIGEST = load(POLICY).digest


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def signed(key: Ed25519PrivateKey = FIRST, key_id: str = "k1", **fields: object) -> SignedBundle:
    """A bundle of the default policy, signed by `key`; `fields` override its own."""
    content = {
        "v": VERSION,
        "edge": EDGE,
        "issued": 1,
        "revision": "1",
        "policy": POLICY,
        "policy_digest": DIGEST,
        "policy_version": 1,
        "resources": (RegisteredResource("orders-db", "postgres", {"env": "prod"}),),
        "keys": (AgentKey("k1", key_hash(AGENT_KEY), Agent("ci-bot")),),
        "grant_keys": {"k1": raw(FIRST)},
    } | fields
    payload = encode(Bundle(**content))  # type: ignore[arg-type]
    return SignedBundle(payload, key_id, key.sign(bundle_bytes(payload)))


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def bundles(directory: Path, clock: Clock, **more: object) -> Bundles:
    (directory / "data").mkdir(exist_ok=True)
    return Bundles(settings_for(directory, "http://127.0.0.1:1", **more), EDGE, clock)


def test_the_first_key_seen_is_kept_and_another_one_refused(tmp_path: Path, clock: Clock) -> None:
    """Also after a restart."""
    bundles(tmp_path, clock).accept(signed(), '"1"')
    again = bundles(tmp_path, clock)
    with pytest.raises(BundleError, match="'k2', which this edge does not trust"):
        again.accept(signed(SECOND, "k2", grant_keys={"k2": raw(SECOND)}), '"2"')
    with pytest.raises(BundleError, match="does not trust"):
        again.accept(signed(SECOND, "k1", grant_keys={"k1": raw(SECOND)}), '"2"')
    assert again.policy is None


def test_a_pinned_key_is_the_only_one_trusted_from_the_start(tmp_path: Path, clock: Clock) -> None:
    """No first sight where edge.yaml says whose key it is."""
    pin = base64.b64encode(raw(SECOND)).decode()
    path = tmp_path / "edge.yaml"
    settings_for(tmp_path, "http://127.0.0.1:1")
    path.write_text(path.read_text().replace("7.0.0.1:1'", f"7.0.0.1:1', public_key: '{pin}'", 1))
    from edge_agent.settings import load as load_settings

    (tmp_path / "data").mkdir()
    pinned = Bundles(load_settings(path, ("postgres",)), EDGE, clock)
    with pytest.raises(BundleError, match="does not trust"):
        pinned.accept(signed(), '"1"')
    pinned.accept(signed(SECOND, "any", grant_keys={"any": raw(SECOND)}), '"1"')
    assert pinned.policy is not None


def test_a_trusted_bundle_introduces_the_next_key(tmp_path: Path, clock: Clock) -> None:
    """Rotation: the old key vouches for the new one, which then stands alone."""
    rotating = bundles(tmp_path, clock)
    rotating.accept(signed(grant_keys={"k1": raw(FIRST), "k2": raw(SECOND)}), '"1"')
    rotating.accept(signed(SECOND, "k2", issued=2, grant_keys={"k2": raw(SECOND)}), '"2"')
    with pytest.raises(BundleError):
        rotating.accept(signed(issued=3), '"3"')


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"edge": "other"}, "is for edge 'other'"), ({"v": 99}, "has version 99"), ({"issued": 0}, "older bundle")],
)
def test_a_bundle_that_is_not_for_now_and_here_is_refused(
    tmp_path: Path, clock: Clock, fields: dict[str, Any], said: str
) -> None:
    """Signed is not enough: another edge's, another version's, or an old one brought back."""
    held = bundles(tmp_path, clock)
    held.accept(signed(), '"1"')
    with pytest.raises(BundleError, match=said):
        held.accept(signed(**fields), '"2"')
    assert held.etag == '"1"'


def test_a_changed_byte_is_refused(tmp_path: Path, clock: Clock) -> None:
    """The signature covers the exact bytes."""
    good = signed()
    with pytest.raises(BundleError, match="does not trust"):
        bundles(tmp_path, clock).accept(SignedBundle(good.payload.replace(b"prod", b"prom"), "k1", good.signature), "")


def test_ages_are_kept_over_a_restart_and_make_it_stale(tmp_path: Path, clock: Clock) -> None:
    """Revocations after five minutes, the policy after an hour, both counted from the last confirmation."""
    held = bundles(tmp_path, clock)
    assert held.policy_stale()
    assert held.revocations_stale()
    held.accept(signed(), '"1"')
    clock.now += 301
    again = bundles(tmp_path, clock)
    again.restore()
    assert again.policy is not None
    assert "revocation_max_age" in again.revocations_stale()
    assert again.policy_stale() == ""
    clock.now += 3600
    assert "policy_max_age" in again.policy_stale()
    again.confirm()
    assert (again.policy_stale(), again.revocations_stale()) == ("", "")


def test_a_policy_that_does_not_load_keeps_the_old_one_and_takes_the_keys(tmp_path: Path, clock: Clock) -> None:
    """A revocation never waits for a policy; the old policy also survives a restart."""
    held = bundles(tmp_path, clock)
    held.accept(signed(), '"1"')
    revoked = AgentKey("k1", key_hash(AGENT_KEY), Agent("ci-bot"), revoked=True)
    held.accept(signed(issued=2, policy="version: 1\nrulez: []\n", policy_digest="x", keys=(revoked,)), '"2"')
    again = bundles(tmp_path, clock)
    again.restore()
    for each in (held, again):
        assert each.policy is not None
        assert each.policy.digest == DIGEST
        assert "rulez" in each.policy_problem
        key = each.key(key_hash(AGENT_KEY))
        assert key is not None
        assert key.revoked


def test_a_digest_that_does_not_match_the_policy_is_a_problem(tmp_path: Path, clock: Clock) -> None:
    """Both sides must mean the same document."""
    held = bundles(tmp_path, clock)
    held.accept(signed(policy_digest="0" * 64), '"1"')
    assert "its digest is" in held.policy_problem
    assert held.policy is None


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        ((), "is not registered"),
        ((RegisteredResource("orders-db", "http", {"env": "prod"}),), "speaks postgres in edge.yaml, http"),
        ((RegisteredResource("orders-db", "postgres", {}),), "label env='prod' in edge.yaml, which is not there"),
    ],
)
def test_a_resource_that_disagrees_with_the_registry_is_not_served(
    tmp_path: Path, clock: Clock, registered: tuple[RegisteredResource, ...], said: str
) -> None:
    """The difference is named."""
    held = bundles(tmp_path, clock)
    held.accept(signed(resources=registered), '"1"')
    assert held.resource("orders-db") is None
    assert said in held.resource_problems[0]


def test_labels_come_from_the_registry(tmp_path: Path, clock: Clock) -> None:
    """edge.yaml may name fewer, never others."""
    held = bundles(tmp_path, clock)
    held.accept(signed(resources=(RegisteredResource("orders-db", "postgres", {"env": "prod", "data": "pii"}),)), '"1"')
    resource = held.resource("orders-db")
    assert resource is not None
    assert resource.labels == {"env": "prod", "data": "pii"}


def test_a_damaged_pin_stops_it(tmp_path: Path, clock: Clock) -> None:
    """Trust is never made anew by accident."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "control-plane-keys.json").write_text("{")
    with pytest.raises(BundleError, match="is damaged"):
        bundles(tmp_path, clock)
