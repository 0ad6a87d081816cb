"""The entity half of the mended sidecar."""

from datetime import timedelta

import durabletask.internal.orchestrator_service_pb2 as pb
import pytest

from embedded_host.alarm import utcnow
from embedded_host.refused import Refused
from tests.embedded_host.steps import Bench, call, complete, kinds, lock

COUNTER = "@counter@a"


async def test_operations_not_answered_are_handed_out_again(bench: Bench) -> None:
    """With the state as it was: a batch takes effect once."""
    await bench.signal(COUNTER, "add")
    bench.finish_operations(await bench.take(), "1")
    await bench.signal(COUNTER, "more")
    assert (await bench.take()).entityRequestV2.entityState.value == "1"
    await bench.reopen()
    again = await bench.take()
    assert again.entityRequestV2.entityState.value == "1"
    assert bench.finish_operations(again, "2") == ["more"]
    await bench.reopen()
    await bench.quiet()


async def test_a_locked_entity_serves_its_owner_alone(bench: Bench) -> None:
    """Also after a restart; the others are served when the owner has ended."""
    await bench.start("owner")
    await bench.episode(lock(1, "section", "owner", COUNTER))
    assert "entityLockGranted" in kinds((await bench.take()).orchestratorRequest.newEvents)
    await bench.signal(COUNTER, "stranger")
    await bench.quiet()
    await bench.reopen()
    await bench.episode(call(2, "owner", COUNTER, "mine"))
    assert bench.finish_operations(await bench.take(), "1") == ["mine"]
    await bench.episode(complete())
    assert bench.finish_operations(await bench.take(), "2") == ["stranger"]


async def test_a_lock_waits_for_the_lock_before_it(bench: Bench) -> None:
    """Across a restart."""
    for name in ("first", "second"):
        await bench.start(name)
    for name in ("first", "second"):
        await bench.episode(lock(1, name, name, COUNTER))
    granted = await bench.take()
    assert granted.orchestratorRequest.instanceId == "first"
    await bench.quiet()
    await bench.reopen()
    await bench.episode(complete())
    granted = await bench.take()
    assert granted.orchestratorRequest.instanceId == "second"
    assert "entityLockGranted" in kinds(granted.orchestratorRequest.newEvents)


async def test_a_delayed_signal_comes_at_its_time_and_once(bench: Bench) -> None:
    """Across a restart."""
    await bench.signal(COUNTER, "later", at=utcnow() + timedelta(milliseconds=300))
    await bench.quiet()
    await bench.reopen()
    assert bench.finish_operations(await bench.take(), "1") == ["later"]
    await bench.reopen()
    await bench.quiet()


async def test_an_entity_without_state_is_gone(bench: Bench) -> None:
    """Before its first operation has run, and after it deleted itself."""
    asked = pb.GetEntityRequest(instanceId=COUNTER, includeState=True)
    await bench.signal(COUNTER, "add")
    assert not (await bench.backend.call("GetEntity", asked)).exists
    bench.finish_operations(await bench.take(), "1")
    assert (await bench.backend.call("GetEntity", asked)).entity.serializedState.value == "1"
    await bench.signal(COUNTER, "delete")
    bench.finish_operations(await bench.take(), None)
    await bench.reopen()
    assert not (await bench.backend.call("GetEntity", asked)).exists


async def test_an_entity_id_that_is_none_is_refused(bench: Bench) -> None:
    """INVALID_ARGUMENT, not a work item that no function can take."""
    for bad in ("counter", "@counter", ""):
        with pytest.raises(Refused):
            await bench.signal(bad, "add")
    await bench.quiet()
