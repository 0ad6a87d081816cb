"""Every registered route, with every role and with none."""

import asyncio
import secrets
from collections.abc import Iterator

import pytest

from function_app.access import ROUTES, Role, Route
from tests.function_app.indexed import functions
from tests.support.control_plane_process import ControlPlaneProcess, Edge

PERSONS = (Role.APPROVER, Role.AUDITOR, Role.POLICY_AUTHOR)


@pytest.fixture(scope="module")
def keyring(control_plane: ControlPlaneProcess) -> dict[Role, str]:
    """A key of each role."""
    return asyncio.run(made(control_plane))


async def made(control_plane: ControlPlaneProcess) -> dict[Role, str]:
    """Register one holder of each role."""
    edge = await control_plane.new_edge()
    agent = await control_plane.admin("POST", f"/v1/agents/{edge.session.agent.name}/keys")
    keys = {Role.EDGE: edge.key, Role.AGENT: agent["key"], Role.ADMINISTRATOR: control_plane.admin_key}
    for role in PERSONS:
        person = {"person": f"{role}-{secrets.token_hex(3)}@example.com", "roles": [role.value]}
        keys[role] = (await control_plane.admin("POST", "/v1/people", person))["key"]
    return keys


def registered() -> Iterator[tuple[str, str, str, str]]:
    """Name, method, path and level of each function with an HTTP trigger, as the worker sees them."""
    for function in functions():
        for binding in function.get_bindings():
            if binding.type == "httpTrigger":
                said = binding.get_dict_repr()
                (method,) = said["methods"]
                yield str(function.get_function_name()), method.value, said["route"], said["authLevel"].value


def test_the_table_names_exactly_the_registered_functions():
    """A route that nobody thought about cannot be reached; the Functions level is ANONYMOUS on purpose."""
    wanted = {(route.name, route.method, route.path, "ANONYMOUS") for route in ROUTES}
    assert {(name, method, path, level.upper()) for name, method, path, level in registered()} == wanted


async def walk(plane: ControlPlaneProcess, route: Route, key: str) -> int:
    """Call a route with an edge's own name where it names one, and things that do not exist everywhere else."""
    path = route.path.replace("{version:int}", "999999").replace("{edge}", "no-such-edge")
    for name in ("grant", "review", "session", "name", "key", "person", "token", "file"):
        path = path.replace(f"{{{name}}}", f"none-{name}")
    query = "?wait=0" if route.name == "edge_decisions" else ""
    reply = await plane.call(route.method, f"/{path}{query}", key=key, data=b"" if route.method != "GET" else None)
    return reply.status


@pytest.mark.parametrize("route", [route for route in ROUTES if route.roles], ids=lambda route: route.name)
async def test_a_route_lets_in_its_roles_and_nobody_else(
    control_plane: ControlPlaneProcess, keyring: dict[Role, str], route: Route
):
    """401 without a valid key, 403 with a key of another role, and anything else only for the roles of the table."""
    assert await walk(control_plane, route, "") == 401
    assert await walk(control_plane, route, "spm_not-a-key") == 401
    for role, key in keyring.items():
        status = await walk(control_plane, route, key)
        if role not in route.roles or (role is Role.EDGE and "{edge}" in route.path):
            assert status == 403, f"{role} got {status}"
        else:
            assert status not in (401, 403, 500), f"{role} got {status}"


async def test_an_edge_reaches_its_own_routes_only(control_plane: ControlPlaneProcess):
    """The name in the path must be that of the key."""
    edge, other = await control_plane.new_edge(), await control_plane.new_edge()
    assert (await edge.call("GET", "/bundle")).status == 200
    assert (await edge.call("GET", "/bundle", key=other.key)).json["type"] == "foreign-edge"


async def test_revoked_and_expired_keys_are_strangers(control_plane: ControlPlaneProcess):
    """Revoking one key, revoking the person, and time each end it."""
    mail = f"p-{secrets.token_hex(3)}@example.com"
    first = await control_plane.admin("POST", "/v1/people", {"person": mail})
    second = await control_plane.admin("POST", "/v1/people", {"person": mail})

    async def status(key: str) -> int:
        return (await control_plane.call("GET", "/v1/me", key=key)).status

    assert (await status(first["key"]), await status(second["key"])) == (200, 200)
    await control_plane.admin("DELETE", f"/v1/people/{mail}/keys/{first['id']}")
    assert (await status(first["key"]), await status(second["key"])) == (401, 200)
    await control_plane.admin("DELETE", f"/v1/people/{mail}")
    assert await status(second["key"]) == 401


async def test_keys_are_shown_once_and_stored_as_hashes(control_plane: ControlPlaneProcess, tmp_path: object):
    """Neither the lists nor the files of the store hold a key."""
    edge: Edge = await control_plane.new_edge()
    name = edge.session.agent.name
    made = await control_plane.admin("POST", f"/v1/agents/{name}/keys", {"expires_in": 60})
    shown = await control_plane.admin("GET", f"/v1/agents/{name}")
    assert made["id"] in {key["id"] for key in shown["keys"]}
    assert made["key"] not in str(shown)
    for path in (control_plane.directory / "data").glob("control-plane.db*"):
        content = path.read_bytes()
        assert made["key"].encode() not in content
        assert edge.key.encode() not in content
    assert made["key"] not in control_plane.log
    await control_plane.admin("DELETE", f"/v1/agents/{name}/keys/{made['id']}")
    (key,) = [key for key in (await edge.bundle()).keys if key.id == made["id"]]
    assert key.revoked
