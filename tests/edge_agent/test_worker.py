"""A whole worker, from a client's socket to the control plane's store, around a toy room."""

from __future__ import annotations

import re
from pathlib import Path

from gateway_kernel.audit import Decided, Finished, Noted, Outcome, Pending, Sending, SessionClosed, SessionOpened
from gateway_kernel.review import State
from tests.edge_agent.conftest import Client, Running, serving, settings_for
from tests.support.control_plane import AGENT_KEY, POLICY, ControlPlane


async def test_an_allowed_read_is_recorded_forwarded_and_shipped(edge: Running, control_plane: ControlPlane) -> None:
    """The agent gets its answer, and the control plane the whole recording in order."""
    client = await edge.client()
    assert await client.asks("read 1") == "done read 1"
    client.leave()
    events = await control_plane.events(lambda event: isinstance(event.body, SessionClosed))
    assert [type(event.body) for event in events] == [SessionOpened, Sending, Finished, SessionClosed]
    assert edge.room.ran == ["read 1"]


async def test_a_denied_operation_is_refused_recorded_and_never_forwarded(
    edge: Running, control_plane: ControlPlane
) -> None:
    """The refusal names the rule and its reason, and the connection stays usable."""
    client = await edge.client()
    answer = await client.asks("schema x")
    assert answer == "refused no-schema Schema changes go through the migration pipeline."
    assert await client.asks("read 1") == "done read 1"
    events = await control_plane.events(lambda event: isinstance(event.body, Finished))
    assert [type(event.body) for event in events] == [SessionOpened, Decided, Sending, Finished]
    assert edge.room.ran == ["read 1"]


async def test_an_approved_operation_runs_once_with_its_grant_consumed(
    edge: Running, control_plane: ControlPlane
) -> None:
    """Pending, decision and sending are recorded around the consumed grant, in that order."""
    client = await edge.client()
    client.say("delete 7")
    assert await client.hears() == "waiting r-1"
    await control_plane.settle(await control_plane.review(), State.APPROVED)
    assert await client.hears() == "done delete 7"
    events = await control_plane.events(lambda event: isinstance(event.body, Finished))
    assert [type(event.body) for event in events] == [SessionOpened, Pending, Decided, Sending, Finished]
    assert "POST /grants/g-r-1/consume" in control_plane.calls


async def test_a_denied_review_refuses_with_the_approvers_reason(edge: Running, control_plane: ControlPlane) -> None:
    """What the person said reaches the agent."""
    client = await edge.client()
    client.say("delete 7")
    await client.hears()
    await control_plane.settle(await control_plane.review(), State.DENIED, "Denied by ann@example.com: not today")
    assert await client.hears() == "refused review-denied Denied by ann@example.com: not today"
    assert edge.room.ran == []


async def test_two_agents_with_the_same_operation_join_one_review_and_one_runs(
    edge: Running, control_plane: ControlPlane
) -> None:
    """One waiter uses the grant, the other is told its outcome."""
    first, second = await edge.client(), await edge.client()
    first.say("delete 7")
    assert await first.hears() == "waiting r-1"
    assert await second.asks("delete 7") == "waiting r-1"
    await control_plane.settle(await control_plane.review(), State.APPROVED)
    answers = {await first.hears(), await second.hears()}
    assert "done delete 7" in answers
    assert any(answer.startswith("refused grant-used") and "completed" in answer for answer in answers)
    assert edge.room.ran == ["delete 7"]
    assert len(control_plane.reviews) == 1


async def test_a_disconnect_leaves_the_review_and_the_retry_uses_the_approval(
    edge: Running, control_plane: ControlPlane
) -> None:
    """The agent goes away while people decide, comes back, and joins."""
    client = await edge.client()
    assert await client.asks("delete 7") == "waiting r-1"
    client.leave()
    await control_plane.events(lambda event: isinstance(event.body, SessionClosed))
    await control_plane.settle(await control_plane.review(), State.APPROVED)
    again = await edge.client()
    assert await again.asks("delete 7") == "waiting r-1"
    assert await again.hears() == "done delete 7"


async def test_a_cancel_withdraws_the_review(edge: Running, control_plane: ControlPlane) -> None:
    """Nobody else waits for it, so people need not decide any more."""
    client = await edge.client()
    await client.asks("delete 7")
    assert (await client.asks("cancel")).startswith("refused review-withdrawn")
    review = await control_plane.review()
    await control_plane.until(lambda: review.withdrawn_by)
    assert edge.room.ran == []


async def test_at_hold_the_agent_is_told_and_the_review_stays(tmp_path: Path, control_plane: ControlPlane) -> None:
    """The refusal is `review-pending`, and nobody withdrew."""
    async with serving(settings_for(tmp_path, control_plane.url, hold="100ms")) as edge:
        client = await edge.client()
        assert await client.asks("delete 7") == "waiting r-1"
        assert (await client.hears()).startswith("refused review-pending")
        assert (await control_plane.review()).state is State.OPEN


async def test_without_control_plane_reviews_are_refused_at_once_and_reads_go_on(
    edge: Running, control_plane: ControlPlane
) -> None:
    """Cached policy serves what it allows; what needs people does not wait for nobody."""
    client = await edge.client()
    control_plane.away = True
    assert (await client.asks("delete 7")).startswith("refused review-unavailable")
    assert await client.asks("read 1") == "done read 1"
    control_plane.away = False
    await control_plane.events(lambda event: isinstance(event.body, Finished))
    assert edge.room.ran == ["read 1"]


async def test_a_lost_reply_of_consume_is_repeated_and_the_operation_runs_once(
    edge: Running, control_plane: ControlPlane
) -> None:
    """The grant was taken although its answer never came; asking again gives the same answer."""
    client = await edge.client()
    await client.asks("delete 7")
    control_plane.lose_replies = 1
    await control_plane.settle(await control_plane.review(), State.APPROVED)
    assert await client.hears() == "done delete 7"
    assert control_plane.calls.count("POST /grants/g-r-1/consume") == 2
    assert edge.room.ran == ["delete 7"]


async def test_clocks_ten_minutes_apart_give_a_clear_error(tmp_path: Path, control_plane: ControlPlane) -> None:
    """No grant could be trusted, so nobody is asked and the agent is told why."""
    control_plane.clock_ahead = 600
    async with serving(settings_for(tmp_path, control_plane.url)) as edge:
        client = await edge.client()
        answer = await client.asks("delete 7")
        assert answer.startswith("refused review-unavailable")
        assert re.search(r"(59\d|600|601) s ahead", answer)
        assert edge.room.ran == []


async def test_a_wrong_key_is_refused_and_recorded_without_the_key(edge: Running, control_plane: ControlPlane) -> None:
    """The refusal says little to the peer, and the recording names who tried."""
    wrong = "spa_k9_ffffffffffffffffffffffffffffffff"
    client = await Client.connect(edge.port, "ci-bot", wrong)
    assert (await client.hears()).startswith("no this agent name and key")
    events = await control_plane.events(lambda event: isinstance(event.body, Noted))
    noted = next(event.body for event in events if isinstance(event.body, Noted))
    assert noted.what == "agent refused"
    assert "ci-bot" in noted.detail
    assert wrong not in str(control_plane.lines)


async def test_a_revoked_key_stops_working(edge: Running, control_plane: ControlPlane) -> None:
    """Revocation reaches the edge with the next bundle."""
    before = control_plane.keys[AGENT_KEY].agent
    control_plane.add_key(AGENT_KEY, before, revoked=True)
    issued = control_plane.calls.count("GET /bundle")
    await control_plane.until(lambda: control_plane.calls.count("GET /bundle") >= issued + 2)
    client = await Client.connect(edge.port)
    assert "is revoked" in await client.hears()


async def test_a_policy_that_does_not_load_leaves_the_old_one_in_force(
    edge: Running, control_plane: ControlPlane
) -> None:
    """The rules before stay, and the state says what is wrong and where."""
    control_plane.policy = POLICY.replace("e.kind ==", "e.kindd ==", 1)
    issued = control_plane.calls.count("GET /bundle")
    await control_plane.until(lambda: control_plane.calls.count("GET /bundle") >= issued + 2)
    client = await edge.client()
    assert await client.asks("read 1") == "done read 1"
    status = edge.worker.status(1)
    assert any("kindd" in warning for warning in status.warnings)
    assert not status.problems


async def test_a_new_policy_holds_for_open_connections(edge: Running, control_plane: ControlPlane) -> None:
    """A reload of the policy drops no connection and judges the next operation."""
    client = await edge.client()
    assert await client.asks("read 1") == "done read 1"
    control_plane.policy = POLICY.replace('e.kind == "read"', 'e.kind == "transaction"', 1)
    issued = control_plane.calls.count("GET /bundle")
    await control_plane.until(lambda: control_plane.calls.count("GET /bundle") >= issued + 2)
    assert (await client.asks("read 1")).startswith("refused ")


async def test_draining_tells_held_agents_and_lets_operations_in_flight_finish(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    """What was sent ends with its outcome, what waits is told that the review stays."""
    async with serving(settings_for(tmp_path, control_plane.url)) as edge:
        held, flying = await edge.client(), await edge.client()
        await held.asks("delete 7")
        edge.room.paused = True
        flying.say("read 1")
        await edge.room.began.wait()
        edge.worker.stop()
        assert (await held.hears()).startswith("refused review-pending")
        edge.room.unfinished.pop()()
        assert await flying.hears() == "done read 1"
    events = control_plane.stored()
    assert sum(isinstance(event.body, SessionClosed) for event in events) == 2
    outcomes = [event.body.outcome for event in events if isinstance(event.body, Finished)]
    assert outcomes == [Outcome.COMPLETED]
    assert (await control_plane.review()).state is State.OPEN


async def test_a_restart_resumes_the_feed_and_keeps_unused_approvals(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    """An approval that arrived when nobody waited is used by the retry after a restart."""
    settings = settings_for(tmp_path, control_plane.url)
    async with serving(settings) as edge:
        client = await edge.client()
        await client.asks("delete 7")
        client.leave()
        await control_plane.settle(await control_plane.review(), State.APPROVED)
        await control_plane.until(lambda: control_plane.polls_from(1))
    async with serving(settings) as edge:
        client = await edge.client()
        assert await client.asks("delete 7") == "waiting r-1"
        assert await client.hears() == "done delete 7"


async def test_a_resource_whose_labels_disagree_is_not_served(tmp_path: Path, control_plane: ControlPlane) -> None:
    """The registry's labels hold; the difference is named, and nothing is guessed."""
    control_plane.resources = tuple(
        type(each)(each.name, each.protocol, {"env": "dev"}) for each in control_plane.resources
    )
    async with serving(settings_for(tmp_path, control_plane.url)) as edge:
        client = await Client.connect(edge.port)
        assert await client.hears() == "no such resource"
        warnings = edge.worker.status(1).warnings
        assert any("orders-db" in each and "env='prod'" in each and "'dev'" in each for each in warnings)


async def test_without_any_bundle_nobody_gets_in(tmp_path: Path) -> None:
    """An edge that never reached its control plane refuses everything, clearly."""
    async with serving(settings_for(tmp_path, "http://127.0.0.1:9")) as edge:
        client = await Client.connect(edge.port)
        assert await client.hears() == "no such resource"
        assert edge.worker.status(1).problems
