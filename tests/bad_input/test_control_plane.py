"""The control plane away, out of step, or asked for too much; policies and settings that do not load."""

import datetime as dt
import email.utils
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway_kernel.audit import Decided, Finished, Outcome
from sallyport.client import ControlPlane, ControlPlaneError
from sallyport.stack import EDGE
from tests.support.detour import detour
from tests.support.world import (
    AGENT,
    FREE,
    GUARDED,
    World,
    bodies,
    decide,
    eventually,
    health,
    kill_control_plane,
    policy_version,
    recordings,
    reviews,
    revive,
    sending,
)

OPEN_REVIEWS = 20  # the control plane's default for one agent


def test_with_the_control_plane_down_reviews_are_refused_and_the_rest_goes_on(world: World) -> None:
    """Cached policy and keys serve; nobody is asked, which is said at once; everything recorded arrives later."""
    count = world.counter()
    kill_control_plane(world)
    with world.connect(FREE) as agent:
        assert not agent.send(world.commands.increment).refused
        assert agent.send(world.commands.forbidden).refused
    with world.connect(GUARDED) as agent:
        answer = agent.send(world.commands.increment)
        assert answer.refused
        assert "review-unavailable" in answer.text
        assert not agent.send(world.commands.look).refused
    assert world.counter() == count + 1
    revive(world)
    told = recordings(world)
    assert len(told) == 2
    outcomes = [body.outcome for recording in told for body in bodies(recording, Finished)]
    assert outcomes.count(Outcome.COMPLETED) == 2
    rules = {rule for recording in told for body in bodies(recording, Decided) for rule in body.verdict.rules}
    assert "review-unavailable" in rules


def test_an_agent_that_opens_reviews_without_end_is_stopped(world: World) -> None:
    """Beyond the limit the answer names it at once; the reviews before it stand."""
    with ExitStack() as waiting:
        for number in range(OPEN_REVIEWS):
            agent = waiting.enter_context(world.connect(GUARDED))
            waiting.enter_context(sending(agent, world.padded(world.commands.increment, number + 1)))
        eventually(lambda: len(reviews(world)) == OPEN_REVIEWS, "all reviews are open")
        with world.connect(GUARDED) as agent:
            answer = agent.send(world.padded(world.commands.increment, OPEN_REVIEWS + 1))
            assert answer.refused
            assert "review-limit" in answer.text
            assert str(OPEN_REVIEWS) in answer.text
            assert not agent.send(world.commands.look).refused
        assert len(reviews(world)) == OPEN_REVIEWS
        for review in reviews(world):
            decide(world, review["id"], "deny")


def test_a_policy_that_does_not_load_changes_nothing(world: World) -> None:
    """The error names line, rule and field; the version before stays active, here and at the edge."""
    active = world.stack.admin().get("/v1/policies/active")
    broken = active["text"].replace('resource.name == "free"', 'resource.nam == "free"')
    line = next(n for n, text in enumerate(broken.splitlines(), 1) if "resource.nam " in text)
    with pytest.raises(ControlPlaneError) as failed:
        world.stack.push_policy(broken)
    said = str(failed.value)
    assert f":{line}:" in said
    assert "changes-on-free" in said
    assert "nam" in said
    assert world.stack.admin().get("/v1/policies/active")["version"] == active["version"] == policy_version(world)


def test_a_typo_in_the_settings_stops_a_start_and_not_a_running_edge(world: World) -> None:
    """File, line and the nearest key are named; the edge that runs keeps what it had and its health says why."""
    config = next(world.stack.home.rglob("edge.yaml"))
    good = config.read_text()
    config.write_text(good.replace("hold:", "hodl:"))
    line = next(n for n, text in enumerate(good.splitlines(), 1) if text.startswith("hold:"))
    said = rf"edge\.yaml:{line}:1: .*hodl.*hold"
    try:
        command = [sys.executable, "-m", "edge_agent", "--config", str(config), "--check"]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 2
        assert re.search(said, checked.stderr)
        eventually(lambda: re.search(said, health(world)), "the edge's health tells the problem")
        with world.connect(FREE) as agent:
            assert not agent.send(world.commands.look).refused
    finally:
        config.write_text(good)
    eventually(lambda: "hodl" not in health(world), "the good settings are read again")


def shifted(data: bytes) -> bytes:
    """The same reply from a clock ten minutes ahead."""

    def later(found: re.Match[bytes]) -> bytes:
        then = email.utils.parsedate_to_datetime(found[1].decode()) + dt.timedelta(minutes=10)
        return b"Date: " + email.utils.format_datetime(then.astimezone(dt.UTC), usegmt=True).encode()

    return re.sub(rb"Date: ([^\r]+)", later, data)


def test_a_clock_ten_minutes_off_is_said(world: World) -> None:
    """No review is asked for, because no grant could be trusted; the error names the difference; reads go on."""
    url = urlsplit(world.stack.url)
    with detour(str(url.hostname), int(url.port or 0), shifted) as way:
        world.start_edge(control=f"http://127.0.0.1:{way.port}")
        with world.connect(GUARDED) as agent:
            answer = agent.send(world.commands.increment)
            assert answer.refused
            assert re.search(r"clock is \d+ s ahead", answer.text), answer.text
            assert not agent.send(world.commands.look).refused
        assert "clock" in health(world)
        assert not reviews(world)


def test_a_revoked_agent_key_opens_nothing_any_more(world: World) -> None:
    """Within the edge's next look at its bundle; the error holds no key."""
    admin = world.stack.admin()
    made = admin.post(f"/v1/agents/{AGENT}/keys", {})

    def accepted() -> bool:
        try:
            with world.connect(FREE, key=made["key"]) as agent:
                return not agent.send(world.commands.look).refused
        except ConnectionError:
            return False

    eventually(accepted, "the edge knows the new key")
    admin.delete(f"/v1/agents/{AGENT}/keys/{made['id']}")

    def refused() -> str:
        try:
            with world.connect(FREE, key=made["key"]):
                return ""
        except ConnectionError as error:
            return str(error)

    said = eventually(refused, "the key is refused")
    assert made["key"] not in said
    assert made["key"].encode() not in (world.stack.logs / "edge.log").read_bytes()


def test_an_edge_that_nobody_registered_is_told_nothing(world: World, tmp_path: Path) -> None:
    """A key that the control plane does not know reads no bundle, and the answer says so."""
    stranger = ControlPlane(world.stack.url, f"spe_{EDGE}_{'x' * 43}")
    with pytest.raises(ControlPlaneError) as failed:
        stranger.get(f"/v1/edges/{EDGE}/bundle")
    assert failed.value.status == 401
