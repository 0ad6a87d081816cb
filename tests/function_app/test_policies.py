"""Policy versions and the bundles that edges decide by."""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway_kernel.contract import SignedBundle, bundle_bytes, decode
from gateway_kernel.policy import load
from tests.support.control_plane_process import POLICY, ControlPlaneProcess


async def test_a_policy_that_does_not_load_stays_out_and_the_old_one_stays(control_plane: ControlPlaneProcess):
    """The problem names file, line, column and rule."""
    await control_plane.admin("POST", "/v1/policies", {"text": POLICY})
    before = await control_plane.admin("GET", "/v1/policies/active")
    broken = POLICY.replace("e.kind ==", "e.kindd ==", 1)
    body = {"text": broken, "name": "prod.yaml"}
    reply = await control_plane.call("POST", "/v1/policies", key=control_plane.admin_key, json=body)
    assert (reply.status, reply.json["type"]) == (422, "policy-invalid")
    assert "prod.yaml:9" in reply.json["detail"]
    assert "'reads'" in reply.json["detail"]
    assert await control_plane.admin("GET", "/v1/policies/active") == before


async def test_a_policy_whose_own_tests_fail_stays_out(control_plane: ControlPlaneProcess):
    """What it says of itself must hold."""
    text = POLICY + (
        "tests:\n- name: drops are fine\n  agent: bot\n  resource: {protocol: postgres}\n  operation: DROP TABLE orders\n"
        "  expect: {verdict: allow}\n"
    )
    reply = await control_plane.call("POST", "/v1/policies", key=control_plane.admin_key, json={"text": text})
    assert (reply.status, reply.json["type"]) == (422, "policy-tests-failed")
    assert "drops are fine" in reply.json["detail"]


async def test_drafts_wait_and_old_versions_can_come_back(control_plane: ControlPlaneProcess):
    """A draft is a version that is not active; activating any version makes it so."""
    first = await control_plane.admin("POST", "/v1/policies", {"text": POLICY, "comment": "first"})
    text = POLICY.replace("quorum: 2", "quorum: 3")
    draft = await control_plane.admin("POST", "/v1/policies", {"text": text, "draft": True})
    assert (await control_plane.admin("GET", "/v1/policies/active"))["version"] == first["version"]
    await control_plane.admin("POST", f"/v1/policies/{draft['version']}/activate")
    active = await control_plane.admin("GET", "/v1/policies/active")
    assert (active["version"], active["text"]) == (draft["version"], text)
    listed = (await control_plane.admin("GET", "/v1/policies"))["policies"]
    assert [row["version"] for row in listed if row["active"]] == [draft["version"]]
    assert "text" not in listed[0]


async def test_a_bundle_is_signed_and_changes_only_when_something_in_it_does(control_plane: ControlPlaneProcess):
    """304 for the same ETag; a policy, a resource, an agent's key each make a new one."""
    edge = await control_plane.new_edge()

    async def fetched(tag: str = "") -> tuple[int, str]:
        reply = await edge.call("GET", "/bundle", None, **{"If-None-Match": tag or "*-none"})
        return reply.status, reply.headers["etag"]

    reply = await edge.call("GET", "/bundle")
    signed = decode(reply.body, SignedBundle)
    bundle = await edge.bundle()
    Ed25519PublicKey.from_public_bytes(bundle.grant_keys[signed.key_id]).verify(
        signed.signature, bundle_bytes(signed.payload)
    )
    assert load(bundle.policy).digest == bundle.policy_digest == edge.policy.digest
    assert [resource.name for resource in bundle.resources] == [edge.session.resource.name]
    assert {key.agent.name for key in bundle.keys} == {edge.session.agent.name}

    tag = reply.headers["etag"]
    assert await fetched(tag) == (304, tag)
    await control_plane.admin("POST", f"/v1/agents/{edge.session.agent.name}/keys")
    status, second = await fetched(tag)
    assert (status, second != tag) == (200, True)
    await control_plane.admin("POST", "/v1/policies", {"text": POLICY + "\n"})
    assert (await fetched(second))[0] == 200
    other = await control_plane.new_edge()
    assert {key.agent.name for key in (await other.bundle()).keys} == {other.session.agent.name}


async def test_one_resource_name_means_one_resource(control_plane: ControlPlaneProcess):
    """A second edge may guard the same resource, but not under other labels."""
    edge = await control_plane.new_edge()
    resource = msgspec.to_builtins(edge.session.resource)
    await control_plane.admin("PUT", f"/v1/edges/{edge.name}-b", {"resources": [resource]})
    resource["labels"] = {"env": "sandbox"}
    body = {"resources": [resource]}
    reply = await control_plane.call("PUT", f"/v1/edges/{edge.name}-c", key=control_plane.admin_key, json=body)
    assert (reply.status, reply.json["type"]) == (409, "taken")


async def test_a_rotated_edge_key_replaces_the_old_one(control_plane: ControlPlaneProcess):
    """Registering again keeps the key unless it is to be rotated."""
    edge = await control_plane.new_edge()
    kept = await control_plane.admin("PUT", f"/v1/edges/{edge.name}", {})
    assert "key" not in kept
    rotated = await control_plane.admin("PUT", f"/v1/edges/{edge.name}", {"rotate_key": True})
    assert (await edge.call("GET", "/bundle")).status == 401
    assert (await edge.call("GET", "/bundle", key=rotated["key"])).status == 200


async def test_health_and_metrics(control_plane: ControlPlaneProcess):
    """Health is open and names nothing; counters are for auditors."""
    reply = await control_plane.call("GET", "/health")
    assert (reply.status, reply.json) == (200, {"status": "ok", "reasons": []})
    metrics = await control_plane.call("GET", "/metrics", key=control_plane.admin_key)
    assert 'sallyport_requests_total{route="push_policy"}' in metrics.text
