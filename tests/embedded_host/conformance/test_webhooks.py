"""The Durable extension's HTTP API: links, status codes, the system key."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.embedded_host.support import Site, fresh_id, until

INSTANCES = "/runtime/webhooks/durabletask/instances"
START = "/runtime/webhooks/durabletask/orchestrators"
LINKS = {
    "id",
    "statusQueryGetUri",
    "sendEventPostUri",
    "terminatePostUri",
    "purgeHistoryDeleteUri",
    "suspendPostUri",
    "resumePostUri",
}


async def test_the_links_of_a_start_work_as_they_are(site: Site) -> None:
    """202 with Location and Retry-After; the links carry the key, so no header is needed."""
    one = fresh_id("linked")
    status, links, response = await site.ask("POST", f"/api/start/wait_for/{one}", body=1)
    assert (status, response.headers["Retry-After"]) == (202, "10")
    assert response.headers["Location"] == links["statusQueryGetUri"]
    assert set(links) >= LINKS
    async with site.session.post(links["sendEventPostUri"].replace("{eventName}", "go"), json="by link") as raised:
        assert raised.status == 202
    assert (await site.ends(one))["output"] == ["by link"]
    async with site.session.get(links["statusQueryGetUri"]) as seen:
        assert (seen.status, (await seen.json())["output"]) == (200, ["by link"])
    async with site.session.delete(links["purgeHistoryDeleteUri"]) as purged:
        assert (purged.status, await purged.json()) == (200, {"instancesDeleted": 1})


async def test_start_by_webhook(site: Site) -> None:
    """With an id or without; an unknown orchestrator is refused."""
    one = fresh_id("hooked")
    status, links, response = await site.ask("POST", f"{START}/hello/{one}", body="Ann")
    assert (status, links["id"]) == (202, one)
    assert "Location" in response.headers
    assert (await site.ends(one))["output"] == ["hello Ann", "good day Ann"]
    status, links, _ = await site.ask("POST", f"{START}/hello", body="Bob")
    assert status == 202
    assert (await site.ends(links["id"]))["output"][0] == "hello Bob"
    assert (await site.ask("POST", f"{START}/no_such_function"))[0] in (400, 404)


async def test_a_running_id_conflicts(site: Site) -> None:
    """409."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    assert (await site.ask("POST", f"{START}/hello/{one}", body="Ann"))[0] == 409


async def test_status_codes_of_a_life(site: Site) -> None:
    """404 before, 202 while it runs, 200 at the end, 410 for whoever comes later."""
    one = fresh_id("life")
    assert (await site.ask("GET", f"{INSTANCES}/{one}"))[0] == 404
    assert (await site.ask("POST", f"{INSTANCES}/{one}/raiseEvent/go", body=1))[0] == 404
    await site.start("wait_for", 1, one)
    await site.says(one, "waiting 0")
    status, _, response = await site.ask("GET", f"{INSTANCES}/{one}")
    assert status == 202
    assert {"Location", "Retry-After"} <= set(response.headers)
    assert (await site.ask("POST", f"{INSTANCES}/{one}/raiseEvent/go", body=1))[0] == 202
    await site.ends(one)
    assert (await site.ask("GET", f"{INSTANCES}/{one}"))[0] == 200
    for verb in ("raiseEvent/go", "terminate", "suspend", "resume"):
        assert (await site.ask("POST", f"{INSTANCES}/{one}/{verb}", body=1))[0] == 410, verb


async def test_an_event_must_be_json(site: Site) -> None:
    """Another content type, or JSON that is none: 400, and the instance still waits."""
    one = await site.start("wait_for", 1)
    url, headers = f"{site.url}{INSTANCES}/{one}/raiseEvent/go", {"x-functions-key": site.key}
    async with site.session.post(url, data=b"x=1", headers=headers) as response:
        assert response.status == 400
    headers["Content-Type"] = "application/json"
    async with site.session.post(url, data=b"{not json", headers=headers) as response:
        assert response.status == 400
    await site.raise_event(one, "go", "good")
    assert (await site.ends(one))["output"] == ["good"]


async def test_terminate_suspend_and_resume_by_webhook(site: Site) -> None:
    """202 each, with the reason in the output of the terminated."""
    one = await site.start("wait_for", 1)
    await site.says(one, "waiting 0")
    assert (await site.ask("POST", f"{INSTANCES}/{one}/suspend", reason="lunch"))[0] == 202
    await site.reaches(one, lambda seen: seen["runtimeStatus"] == "Suspended")
    assert (await site.ask("POST", f"{INSTANCES}/{one}/resume", reason="back"))[0] == 202
    await site.reaches(one, lambda seen: seen["runtimeStatus"] == "Running")
    assert (await site.ask("POST", f"{INSTANCES}/{one}/terminate", reason="enough"))[0] == 202
    done = await site.ends(one)
    assert (done["runtimeStatus"], done["output"]) == ("Terminated", "enough")


async def test_restart_runs_the_same_input_again(site: Site) -> None:
    """Under a new id, or in place."""
    one = await site.start("hello", "Ann")
    await site.ends(one)
    status, links, _ = await site.ask("POST", f"{INSTANCES}/{one}/restart", restartWithNewInstanceId="true")
    assert status == 202
    assert links["id"] != one
    assert (await site.ends(links["id"]))["input"] == "Ann"
    status, links, _ = await site.ask("POST", f"{INSTANCES}/{one}/restart", restartWithNewInstanceId="false")
    assert (status, links["id"]) == (202, one)
    assert (await site.ends(one))["output"] == ["hello Ann", "good day Ann"]


async def test_the_list_is_filtered_and_paged(site: Site) -> None:
    """By prefix and status; `top` gives a token for the rest."""
    prefix = fresh_id("listed")
    ids = [
        await site.start("wait_for", 1 if name == "waits" else 0, f"{prefix}-{name}") for name in ("a", "waits", "z")
    ]
    await site.ends(ids[0])
    await site.ends(ids[2])
    await site.says(ids[1], "waiting 0")
    _, done, _ = await site.ask("GET", INSTANCES, instanceIdPrefix=prefix, runtimeStatus="Completed,Failed")
    assert sorted(_ids(done)) == sorted([ids[0], ids[2]])
    _, first, response = await site.ask("GET", INSTANCES, instanceIdPrefix=prefix, top="2")
    headers = {"x-functions-key": site.key, "x-ms-continuation-token": response.headers["x-ms-continuation-token"]}
    query = {"instanceIdPrefix": prefix, "top": "2"}
    async with site.session.get(f"{site.url}{INSTANCES}", params=query, headers=headers) as rest:
        assert sorted(_ids(first) + _ids(await rest.json())) == sorted(ids)


async def test_history_is_shown_on_request(site: Site) -> None:
    """Event types in their order, from start to completion."""
    one = await site.start("hello", "Ann")
    await site.ends(one)
    _, seen, _ = await site.ask("GET", f"{INSTANCES}/{one}", showHistory="true", showInput="false")
    kinds = [event["EventType"] for event in seen["historyEvents"]]
    assert kinds.index("ExecutionStarted") < kinds.index("TaskCompleted") < kinds.index("ExecutionCompleted")
    assert not seen["input"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", INSTANCES), ("POST", f"{START}/hello"), ("DELETE", f"{INSTANCES}/x")]
)
async def test_the_api_asks_for_its_key(site: Site, method: str, path: str) -> None:
    """No key or a wrong one: 401, and nothing is told."""
    for key in ("", "wrong"):
        status, told, _ = await site.ask(method, path, key=key)
        assert status == 401
        assert not told


async def test_a_failed_instance_is_500_only_on_request(site: Site) -> None:
    """`returnInternalServerErrorOnFailure`."""
    one = await site.start("failing", {"message": "broken", "catch": False})
    await site.ends(one)
    assert (await site.ask("GET", f"{INSTANCES}/{one}"))[0] == 200
    assert (await site.ask("GET", f"{INSTANCES}/{one}", returnInternalServerErrorOnFailure="true"))[0] == 500


async def test_an_entity_by_webhook(site: Site) -> None:
    """404 before its first operation, its state as JSON after."""
    path = f"/runtime/webhooks/durabletask/entities/Counter/{fresh_id('hooked')}"
    assert (await site.ask("GET", path))[0] == 404
    assert (await site.ask("POST", path, body=3, op="add"))[0] == 202
    _, state, _ = await until(lambda: site.ask("GET", path), lambda seen: seen[0] == 200)
    assert state == 3


async def test_purging_many_asks_for_a_time_and_takes_only_what_it_names(site: Site) -> None:
    """Those created in a window with a status; a running one stays; without a time nothing is purged."""
    ended, running = await site.start("wait_for", 1), await site.start("wait_for", 1)
    await site.says(running, "waiting 0")
    await site.ask("POST", f"{INSTANCES}/{ended}/terminate", reason="purge me")
    created = datetime.fromisoformat((await site.ends(ended))["createdTime"])
    window = {"createdTimeFrom": created.isoformat(), "createdTimeTo": (created + timedelta(seconds=2)).isoformat()}
    assert (await site.ask("DELETE", INSTANCES, runtimeStatus="Terminated"))[0] == 400
    status, told, _ = await site.ask("DELETE", INSTANCES, runtimeStatus="Terminated", **window)
    assert (status, told["instancesDeleted"] >= 1) == (200, True)
    assert await site.status(ended) is None
    assert await site.status(running) is not None
    assert (await site.ask("DELETE", INSTANCES, runtimeStatus="Terminated", **window))[0] == 404


def _ids(listed: Any) -> list[str]:
    assert isinstance(listed, list), json.dumps(listed)
    return [one["instanceId"] for one in listed]
