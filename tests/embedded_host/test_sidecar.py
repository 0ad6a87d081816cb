"""The orchestration half of the mended sidecar: one test for each defect of the base, and for what must stay."""

import threading
from datetime import timedelta

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest

from embedded_host.alarm import utcnow
from embedded_host.refused import CALL, Refused
from embedded_host.sidecar import MAX_HISTORY
from tests.embedded_host.steps import Bench, activity, complete, kinds, sub, timer

SOON = timedelta(milliseconds=50)
FAR = timedelta(days=3)


async def test_a_completion_counts_once(bench: Bench) -> None:
    """An activity that ran twice, as at-least-once allows, is one event."""
    await bench.start("a")
    await bench.episode(activity(1))
    work = await bench.take()
    bench.finish_activity(work)
    bench.finish_activity(work)
    assert kinds((await bench.take()).orchestratorRequest.newEvents).count("taskCompleted") == 1


async def test_a_result_of_a_former_generation_is_not_taken_for_this_ones(bench: Bench) -> None:
    """After continue_as_new the task ids start again; the old task 1 is nobody's."""
    await bench.start("a")
    await bench.episode(activity(1))
    old = await bench.take()
    await bench.raise_event("a", "go")
    await bench.episode(complete(pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW))
    await bench.episode(activity(1))
    new = await bench.take()
    bench.finish_activity(old, '"old"')
    await bench.quiet()
    bench.finish_activity(new, '"new"')
    arrived = (await bench.take()).orchestratorRequest.newEvents
    assert [e.taskCompleted.result.value for e in arrived if e.HasField("taskCompleted")] == ['"new"']


async def test_a_failure_without_a_message_is_a_failure(bench: Bench) -> None:
    """The base looks at the message and calls an empty one a success."""
    await bench.start("a")
    await bench.episode(activity(1))
    work = await bench.take()
    failed = pb.ActivityResponse(instanceId="a", taskId=1, completionToken=work.completionToken)
    failed.failureDetails.errorType = "ValueError"
    bench.backend.CompleteActivityTask(failed, CALL)
    assert "taskFailed" in kinds((await bench.take()).orchestratorRequest.newEvents)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("RaiseEvent", pb.RaiseEventRequest(instanceId="a", name="go")),
        ("SuspendInstance", pb.SuspendRequest(instanceId="a")),
        ("ResumeInstance", pb.ResumeRequest(instanceId="a")),
        ("TerminateInstance", pb.TerminateRequest(instanceId="a")),
    ],
)
async def test_a_finished_instance_is_left_alone(bench: Bench, method: str, request_: object) -> None:
    """FAILED_PRECONDITION; NOT_FOUND for one that never was."""
    with pytest.raises(Refused) as unknown:
        await bench.backend.call(method, request_)
    await bench.start("a")
    await bench.episode(complete())
    with pytest.raises(Refused) as ended:
        await bench.backend.call(method, request_)
    assert (unknown.value.code, ended.value.code) == (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)


async def test_a_duplicate_start_is_refused_while_it_runs_and_granted_after(bench: Bench) -> None:
    """With no reuse policy in the request, as the durable client sends it."""
    await bench.start("a")
    with pytest.raises(Refused) as running:
        await bench.start("a")
    assert running.value.code == grpc.StatusCode.ALREADY_EXISTS
    await bench.episode(complete())
    await bench.start("a", "another")
    again = await bench.take()
    assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]
    assert not again.orchestratorRequest.pastEvents


@pytest.mark.parametrize("bad", ["a/b", "a\\b", "a#b", "a?b", "a\nb", "@a", "x" * 257])
async def test_an_instance_id_keeps_the_rules(bench: Bench, bad: str) -> None:
    """Refused with INVALID_ARGUMENT."""
    with pytest.raises(Refused) as refused:
        await bench.start(bad)
    assert refused.value.code == grpc.StatusCode.INVALID_ARGUMENT


async def test_five_hundred_timers_take_no_thread(bench: Bench) -> None:
    """They are alarms of the loop, due after a restart too."""
    await bench.start("a")
    await bench.backend.sealed()
    before = threading.active_count()
    await bench.episode(*(timer(n, utcnow() + FAR) for n in range(1, 500)), timer(500, utcnow() + SOON))
    await bench.backend.sealed()
    assert threading.active_count() == before
    await bench.reopen()
    fired = (await bench.take()).orchestratorRequest.newEvents
    assert [e.timerFired.timerId for e in fired if e.HasField("timerFired")] == [500]


async def test_the_end_of_a_sub_orchestration_reaches_its_parent_across_a_restart(bench: Bench) -> None:
    """And only the generation that asked for it."""
    await bench.start("p")
    await bench.episode(sub(1, "c"))
    await bench.reopen()
    child = await bench.episode(complete(result='"child"'))
    started = [e.executionStarted for e in child.orchestratorRequest.newEvents if e.HasField("executionStarted")]
    assert started[0].parentInstance.orchestrationInstance.instanceId == "p"
    arrived = (await bench.take()).orchestratorRequest.newEvents
    done = [e.subOrchestrationInstanceCompleted for e in arrived if e.HasField("subOrchestrationInstanceCompleted")]
    assert [(one.taskScheduledId, one.result.value) for one in done] == [(1, '"child"')]


async def test_a_terminated_sub_orchestration_fails_for_its_parent(bench: Bench) -> None:
    """It does not wait for ever."""
    await bench.start("p")
    await bench.episode(sub(1, "c"))
    await bench.episode(complete(pb.ORCHESTRATION_STATUS_TERMINATED))
    assert "subOrchestrationInstanceFailed" in kinds((await bench.take()).orchestratorRequest.newEvents)


async def test_terminate_reaches_sub_orchestrations_on_request(bench: Bench) -> None:
    """Both get the event."""
    await bench.start("p")
    await bench.episode(sub(1, "c"))
    await bench.episode()
    await bench.backend.call("TerminateInstance", pb.TerminateRequest(instanceId="p", recursive=True))
    both = [(await bench.take()).orchestratorRequest for _ in range(2)]
    assert {one.instanceId for one in both} == {"p", "c"}
    assert all("executionTerminated" in kinds(one.newEvents) for one in both)


async def test_a_scheduled_start_waits_across_a_restart(bench: Bench) -> None:
    """Terminated before its time, it never runs."""
    await bench.start("later", at=utcnow() + timedelta(seconds=1))
    await bench.start("never", at=utcnow() + timedelta(seconds=1))
    await bench.quiet()
    await bench.reopen()
    await bench.quiet()
    await bench.backend.call("TerminateInstance", pb.TerminateRequest(instanceId="never"))
    assert bench.status("never") == pb.ORCHESTRATION_STATUS_TERMINATED
    assert (await bench.episode(complete())).orchestratorRequest.instanceId == "later"
    await bench.quiet()


async def test_a_history_without_end_fails_its_instance(bench: Bench) -> None:
    """Instead of refusing each of its completions for ever."""
    await bench.start("a")
    await bench.episode(*(timer(n, utcnow() + FAR) for n in range(1, MAX_HISTORY + 1)))
    await bench.raise_event("a", "go")
    await bench.episode()
    assert bench.status("a") == pb.ORCHESTRATION_STATUS_FAILED
    failure = bench.backend.find("a").failure_details
    assert failure is not None
    assert "continue_as_new" in failure.errorMessage


async def test_an_event_during_an_episode_is_seen_by_the_next(bench: Bench) -> None:
    """Also where the host dies in between: the episode is run again with what it had and what came."""
    await bench.start("a")
    first = await bench.take()
    await bench.raise_event("a", "go")
    await bench.quiet()
    await bench.reopen()
    again = await bench.take()
    assert kinds(again.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted", "eventRaised"]
    assert kinds(first.orchestratorRequest.newEvents) == ["orchestratorStarted", "executionStarted"]


async def test_rewind_runs_the_failed_again(bench: Bench) -> None:
    """The worker rewrites the history; what it left open is asked for again, also after a restart."""
    await bench.start("a")
    await bench.episode(activity(1))
    bench.finish_activity(await bench.take())
    await bench.episode(complete(pb.ORCHESTRATION_STATUS_FAILED))
    await bench.backend.call("RewindInstance", pb.RewindInstanceRequest(instanceId="a"))
    item = await bench.take()
    assert "executionRewound" in kinds(item.orchestratorRequest.newEvents)
    kept = [e for e in item.orchestratorRequest.pastEvents if kinds([e])[0] in ("executionStarted", "taskScheduled")]
    rewind = pb.RewindOrchestrationAction(newHistory=[*kept, *item.orchestratorRequest.newEvents])
    bench.complete(item, pb.OrchestratorAction(id=1, rewindOrchestration=rewind))
    await bench.backend.sealed()
    await bench.reopen()
    handed = [await bench.take(), await bench.take()]
    assert sorted(str(one.WhichOneof("request")) for one in handed) == ["activityRequest", "orchestratorRequest"]
