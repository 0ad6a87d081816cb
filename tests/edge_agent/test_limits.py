"""Limits of a worker, and the counts by which a policy's caps are answered."""

from __future__ import annotations

import pytest

from edge_agent.gateway import LimitReachedError
from edge_agent.limits import Counters, Rate, Usage
from edge_agent.settings import Limits
from gateway_kernel.model import SECOND, Agent, Resource, Session
from gateway_kernel.verdict import Cap

NONE = Limits(0, 0, 0, 0)
NOON = 1_800_000_000 * SECOND


def session(name: str = "s", agent: str = "ci-bot") -> Session:
    return Session(name, Agent(agent), Resource("orders-db", "postgres"), NOON)


def counters(edge: Limits = NONE, agent: Limits = NONE, resource: Limits = NONE) -> Counters:
    return Counters(edge, agent, lambda _: resource)


@pytest.mark.parametrize("whose", ["edge", "agent", "resource"])
def test_a_connection_beyond_the_limit_is_refused_until_one_closes(whose: str) -> None:
    """Each limit counts on its own, and a refused connection counts nowhere."""
    held = counters(**{whose: Limits(2, 0, 0, 0)})
    held.connect("a", "r", NOON)
    held.connect("a", "r", NOON)
    with pytest.raises(LimitReachedError, match="limit of 2 connections"):
        held.connect("a", "r", NOON)
    assert held.connections == 2
    held.disconnect("a", "r")
    held.connect("a", "r", NOON)


def test_limits_of_one_agent_do_not_touch_another() -> None:
    """Nor those of one resource another resource."""
    held = counters(agent=Limits(1, 0, 0, 0))
    held.connect("a", "r", NOON)
    held.connect("b", "r", NOON)
    with pytest.raises(LimitReachedError, match="agent 'b'"):
        held.connect("b", "other", NOON)


def test_connections_are_paced() -> None:
    """The rate is an average; a second later there is room again."""
    held = counters(agent=Limits(0, 2, 0, 0))
    held.connect("a", "r", NOON)
    held.connect("a", "r", NOON)
    with pytest.raises(LimitReachedError, match="more than 2 connections a second"):
        held.connect("a", "r", NOON)
    held.connect("a", "r", NOON + SECOND)


def test_operations_are_paced_and_their_size_bounded() -> None:
    """Each refusal has its own rule."""
    held = counters(resource=Limits(0, 0, 1, 100))
    assert held.operate("a", "r", 100, NOON) is None
    refused = held.operate("a", "r", 10, NOON)
    assert refused is not None
    assert refused[0] == "rate-limit"
    refused = held.operate("a", "r", 101, NOON + SECOND)
    assert refused is not None
    assert refused[0] == "operation-too-large"


def test_new_limits_hold_for_what_is_open() -> None:
    """A reload changes them without forgetting who is connected."""
    held = counters()
    held.connect("a", "r", NOON)
    held.configure(NONE, Limits(1, 0, 0, 0), lambda _: NONE)
    with pytest.raises(LimitReachedError):
        held.connect("a", "r", NOON)


def test_a_clock_that_steps_back_gives_nothing_away() -> None:
    """And does not block for ever."""
    rate = Rate(1)
    assert rate.take(NOON)
    assert not rate.take(NOON - 3600 * SECOND)
    assert rate.take(NOON - 3599 * SECOND)


def test_usage_counts_only_what_a_cap_asks_for() -> None:
    """Per session and per agent, over the whole session or in a window."""
    whole = Cap("rows_read", 100, "session", 0)
    hourly = Cap("operations", 10, "agent", 3600)
    usage = Usage()
    usage.use((whole, hourly))
    one, two = session("one"), session("two")
    usage.add(one, "rows_read", 40, NOON)
    usage.add(one, "operations", 1, NOON)
    usage.add(two, "operations", 1, NOON)
    usage.add(two, "bytes_read", 1000, NOON)
    usage.fill(one, NOON)
    usage.fill(two, NOON)
    assert one.usage == {whole.key: 40, hourly.key: 2}
    assert two.usage == {whole.key: 0, hourly.key: 2}


def test_a_window_slides() -> None:
    """What is older than the window no longer counts, and the step is a sixtieth of it."""
    cap = Cap("operations", 10, "agent", 60)
    usage = Usage()
    usage.use((cap,))
    one = session()
    for second in (0, 30, 59):
        usage.add(one, "operations", 1, NOON + second * SECOND)
    for at, count in ((59, 3), (62, 2), (92, 1), (121, 0)):
        usage.fill(one, NOON + at * SECOND)
        assert one.usage[cap.key] == count, at


def test_a_new_policy_keeps_the_windows_that_it_shares() -> None:
    """Reloading does not give an agent its budget back."""
    cap, other = Cap("operations", 10, "agent", 60), Cap("rows_read", 10, "session", 0)
    usage = Usage()
    usage.use((cap,))
    one = session()
    usage.add(one, "operations", 5, NOON)
    usage.use((cap, other))
    usage.fill(one, NOON)
    assert one.usage == {cap.key: 5, other.key: 0}
    usage.forget(one)
    usage.fill(one, NOON)
    assert one.usage[cap.key] == 5
