"""Alarms on the wall clock."""

import asyncio
from datetime import timedelta

import pytest

from embedded_host import alarm
from embedded_host.alarm import Alarm, utcnow


async def test_it_rings_at_its_time_and_not_before() -> None:
    """By the wall clock."""
    rang, when = asyncio.Event(), utcnow() + timedelta(milliseconds=30)
    Alarm(when, rang.set)
    await asyncio.wait_for(rang.wait(), 10)
    assert utcnow() >= when


async def test_one_that_is_past_rings_at_once_and_a_cancelled_one_never() -> None:
    """The cancelled one was due first."""
    rung: list[str] = []
    done = asyncio.Event()
    Alarm(utcnow() - timedelta(days=1), lambda: rung.append("cancelled")).cancel()
    Alarm(utcnow() - timedelta(hours=1), lambda: rung.append("kept"))
    Alarm(utcnow(), done.set)
    await asyncio.wait_for(done.wait(), 10)
    assert rung == ["kept"]


async def test_it_looks_at_the_clock_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that was set forward is noticed at the next look, not when the old time has run off."""
    now = utcnow()
    monkeypatch.setattr(alarm, "LOOK", 0.01)
    rang = asyncio.Event()
    Alarm(now + timedelta(days=30), rang.set)
    monkeypatch.setattr(alarm, "utcnow", lambda: now + timedelta(days=31))
    await asyncio.wait_for(rang.wait(), 10)
