"""durabletask's in-memory sidecar with its defects mended, still without a disk.

What it changes, against `durabletask.testing.InMemoryOrchestrationBackend` 1.12.0:

- timers, delayed signals and scheduled starts are alarms of the event loop, not a sleeping thread each;
- a sub-orchestration's end is delivered when it ends (the base waits in a thread and gives up after 30 s);
- a scheduled start waits for its time (the base starts at once);
- an activity that fails with an empty message has failed (the base records a success);
- a completion counts once, and only in the generation that asked for it (the base delivers doubles, and hands
  results of before a continue_as_new to the tasks after it);
- events, suspends and terminates of a finished instance are refused; a finished instance id may be started again;
- terminate reaches sub-orchestrations; an over-long history fails its instance instead of blocking it for ever;
- entities: see `entities.py`.

Everything runs on one event loop: each public method is one step that nothing else interleaves with. `backend.py`
makes the steps durable and decides when the work they ask for may leave.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import override

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from durabletask.internal import helpers
from durabletask.testing.in_memory_backend import ActivityWorkItem, OrchestrationInstance
from google.protobuf import wrappers_pb2

from embedded_host.alarm import Alarm, utcnow
from embedded_host.entities import EntitySidecar, Watched
from embedded_host.refused import Refused
from embedded_host.versions import Versions

MAX_HISTORY = 20_000  # events of one generation; each episode replays them all
MAX_ID = 256  # characters of an instance id, the extension's own limit
TERMINAL = (pb.ORCHESTRATION_STATUS_COMPLETED, pb.ORCHESTRATION_STATUS_FAILED, pb.ORCHESTRATION_STATUS_TERMINATED)
SURVIVES = ("eventRaised", "executionSuspended", "executionResumed", "executionTerminated")


@dataclass(slots=True)
class Open:
    """What one generation of an instance still waits for, by task id."""

    activities: dict[int, str] = field(default_factory=dict[int, str])  # -> the completion token that was handed out
    timers: dict[int, Alarm] = field(default_factory=dict[int, Alarm])
    subs: dict[int, str] = field(default_factory=dict[int, str])  # -> the sub-orchestration's instance id

    def close(self) -> None:
        """Nothing that was asked for counts any more."""
        for alarm in self.timers.values():
            alarm.cancel()


@dataclass(frozen=True, slots=True)
class Queued:
    """What a step asked to have done."""

    orchestrations: tuple[str, ...]
    activities: tuple[ActivityWorkItem, ...]
    entities: tuple[str, ...]


class Sidecar(EntitySidecar):
    """The whole state machine."""

    def __init__(self, versions: Versions) -> None:
        super().__init__()
        self.versions = versions
        self._instances: dict[str, OrchestrationInstance] = Watched(self._touched, self._forget)
        self._open: dict[str, Open] = {}
        self._parents: dict[str, tuple[str, int]] = {}  # sub-orchestration -> (parent, task id)
        self._starts: dict[str, tuple[datetime, Alarm]] = {}

    def _forget(self, instance_id: str) -> None:
        self._close(instance_id)
        self._parents.pop(instance_id, None)
        if start := self._starts.pop(instance_id, None):
            start[1].cancel()

    def _close(self, instance_id: str) -> None:
        if waiting := self._open.pop(instance_id, None):
            waiting.close()

    def _opened(self, instance_id: str) -> Open:
        return self._open.setdefault(instance_id, Open())

    def is_terminal(self, instance: OrchestrationInstance) -> bool:
        """Completed, failed or terminated."""
        return instance.status in TERMINAL

    def find(self, instance_id: str) -> OrchestrationInstance:
        """The instance, or Refused NOT_FOUND."""
        instance = self._instances.get(instance_id)
        if instance is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"no orchestration instance '{instance_id}'")
        return instance

    def _running(self, instance_id: str) -> OrchestrationInstance:
        instance = self.find(instance_id)
        if self.is_terminal(instance):
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, f"orchestration instance '{instance_id}' has ended")
        return instance

    # ---- what clients ask

    @override
    def StartInstance(
        self, request: pb.CreateInstanceRequest, context: grpc.ServicerContext
    ) -> pb.CreateInstanceResponse:
        _check_id(request.instanceId)
        if not request.orchestrationIdReusePolicy.replaceableStatus:  # the extension's default: any that ended
            request.orchestrationIdReusePolicy.replaceableStatus.extend(TERMINAL)
        if not request.HasField("version") and self.versions.default:
            request.version.CopyFrom(wrappers_pb2.StringValue(value=self.versions.default))
        when = (
            request.scheduledStartTimestamp.ToDatetime(tzinfo=UTC)
            if request.HasField("scheduledStartTimestamp")
            else None
        )
        reply = super().StartInstance(request, context)
        if when is not None and when > utcnow():
            self._wait_to_start(reply.instanceId, when)
        return reply

    def _wait_to_start(self, instance_id: str, when: datetime) -> None:
        def begin() -> None:
            del self._starts[instance_id]
            self._enqueue_orchestration(instance_id)

        self._starts[instance_id] = when, Alarm(when, begin)
        if instance_id in self._orchestration_queue_set:
            self._orchestration_queue.remove(instance_id)
            self._orchestration_queue_set.discard(instance_id)

    @override
    def RaiseEvent(self, request: pb.RaiseEventRequest, context: grpc.ServicerContext) -> pb.RaiseEventResponse:
        self._running(request.instanceId)
        self._touched(request.instanceId)
        return super().RaiseEvent(request, context)

    @override
    def SuspendInstance(self, request: pb.SuspendRequest, context: grpc.ServicerContext) -> pb.SuspendResponse:
        self._running(request.instanceId)
        return super().SuspendInstance(request, context)

    @override
    def ResumeInstance(self, request: pb.ResumeRequest, context: grpc.ServicerContext) -> pb.ResumeResponse:
        self._running(request.instanceId)
        return super().ResumeInstance(request, context)

    @override
    def TerminateInstance(self, request: pb.TerminateRequest, context: grpc.ServicerContext) -> pb.TerminateResponse:
        self._running(request.instanceId)
        return super().TerminateInstance(request, context)

    @override
    def _terminate_instance_internal(self, instance_id: str, output: str | None, recursive: bool = False) -> None:
        for sub in list(self._open[instance_id].subs.values()) if recursive and instance_id in self._open else ():
            self._terminate_instance_internal(sub, output, recursive)
        if instance_id not in self._starts:
            super()._terminate_instance_internal(instance_id, output)
            return
        self._starts.pop(instance_id)[1].cancel()  # it never ran, and its code must not run now
        instance = self._instances[instance_id]
        instance.status, instance.output = pb.ORCHESTRATION_STATUS_TERMINATED, output
        instance.completed_at = instance.last_updated_at = utcnow()
        instance.pending_events.clear()
        self._touched(instance_id)
        self._ended(instance)

    # ---- what the worker answers

    @override
    def CompleteOrchestratorTask(
        self, request: pb.OrchestratorResponse, context: grpc.ServicerContext
    ) -> pb.CompleteTaskResponse:
        instance = self._instances.get(request.instanceId)
        if instance is not None and len(instance.history) + len(instance.dispatched_events) > MAX_HISTORY:
            text = f"the history has more than {MAX_HISTORY} events; use continue_as_new to start a fresh one"
            del request.actions[:]
            request.actions.append(failure_action("HistoryTooLong", text))
        self._touched(request.instanceId)
        reply = super().CompleteOrchestratorTask(request, context)
        if instance is not None and self.is_terminal(instance):
            self._ended(instance)
        return reply

    def _ended(self, instance: OrchestrationInstance) -> None:
        self._close(instance.instance_id)
        self.release_locks(instance.instance_id)
        self._deliver_to_parent(instance)

    def _deliver_to_parent(self, sub: OrchestrationInstance) -> None:
        parent_id, task_id = self._parents.get(sub.instance_id, ("", 0))
        waiting, parent = self._open.get(parent_id), self._instances.get(parent_id)
        if waiting is None or parent is None or waiting.subs.get(task_id) != sub.instance_id:
            return  # nobody waits, or another generation of the parent does
        del waiting.subs[task_id]
        if sub.status == pb.ORCHESTRATION_STATUS_COMPLETED:
            event = helpers.new_sub_orchestration_completed_event(task_id, sub.output)
        else:
            event = helpers.new_sub_orchestration_failed_event(
                task_id, Exception("the sub-orchestration was terminated")
            )
            if sub.failure_details is not None:
                event.subOrchestrationInstanceFailed.failureDetails.CopyFrom(sub.failure_details)
        self._arrive(parent, event)

    def _arrive(self, instance: OrchestrationInstance, event: pb.HistoryEvent) -> None:
        instance.pending_events.append(event)
        instance.last_updated_at = utcnow()
        self._enqueue_orchestration(instance.instance_id)

    @override
    def CompleteActivityTask(
        self, request: pb.ActivityResponse, context: grpc.ServicerContext
    ) -> pb.CompleteTaskResponse:
        waiting, instance = self._open.get(request.instanceId), self._instances.get(request.instanceId)
        if waiting is None or instance is None or waiting.activities.get(request.taskId) != request.completionToken:
            return pb.CompleteTaskResponse()
        del waiting.activities[request.taskId]
        event = pb.HistoryEvent(eventId=-1)
        if request.HasField("failureDetails"):
            failed = pb.TaskFailedEvent(taskScheduledId=request.taskId, failureDetails=request.failureDetails)
            event.taskFailed.CopyFrom(failed)
        else:
            done = pb.TaskCompletedEvent(taskScheduledId=request.taskId)
            if request.HasField("result"):
                done.result.CopyFrom(request.result)
            event.taskCompleted.CopyFrom(done)
        self._arrive(instance, event)
        return pb.CompleteTaskResponse()

    # ---- what orchestrators ask

    @override
    def _create_instance_internal(
        self, instance_id: str, name: str, encoded_input: str | None = None, version: str | None = None
    ) -> None:
        super()._create_instance_internal(instance_id, name, encoded_input, version or self.versions.default or None)

    @override
    def _process_complete_orchestration_action(
        self, instance: OrchestrationInstance, complete_action: pb.CompleteOrchestrationAction
    ) -> None:
        if complete_action.orchestrationStatus == pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW:
            self._close(instance.instance_id)  # task ids start again from 1
            instance.pending_events = [e for e in instance.pending_events if e.WhichOneof("eventType") in SURVIVES]
        super()._process_complete_orchestration_action(instance, complete_action)

    @override
    def _process_schedule_task_action(self, instance: OrchestrationInstance, action: pb.OrchestratorAction) -> None:
        super()._process_schedule_task_action(instance, action)
        self._opened(instance.instance_id).activities[action.id] = str(instance.completion_token)

    @override
    def _process_create_timer_action(self, instance: OrchestrationInstance, action: pb.OrchestratorAction) -> None:
        when = action.createTimer.fireAt.ToDatetime(tzinfo=UTC)
        instance.history.append(helpers.new_timer_created_event(action.id, when))
        self._set_timer(instance, action.id, when)

    def _set_timer(self, instance: OrchestrationInstance, timer_id: int, when: datetime) -> None:
        timers = self._opened(instance.instance_id).timers

        def fire() -> None:
            del timers[timer_id]
            self._arrive(instance, helpers.new_timer_fired_event(timer_id, when))

        timers[timer_id] = Alarm(when, fire)

    @override
    def _process_create_sub_orchestration_action(
        self, instance: OrchestrationInstance, action: pb.OrchestratorAction
    ) -> None:
        super()._process_create_sub_orchestration_action(instance, action)
        sub = self._instances.get(action.createSubOrchestration.instanceId)
        if sub is None or self._parents.get(sub.instance_id) != (instance.instance_id, action.id):
            return
        started = next(e for e in sub.pending_events if e.HasField("executionStarted")).executionStarted
        started.parentInstance.taskScheduledId = action.id
        started.parentInstance.name.value = instance.name
        started.parentInstance.orchestrationInstance.instanceId = instance.instance_id

    @override
    def _watch_sub_orchestration(self, parent_instance_id: str, sub_instance_id: str, task_id: int) -> None:
        self._parents[sub_instance_id] = parent_instance_id, task_id
        self._touched(sub_instance_id)
        self._opened(parent_instance_id).subs[task_id] = sub_instance_id
        sub = self._instances.get(sub_instance_id)
        if sub is not None and self.is_terminal(sub):
            self._deliver_to_parent(sub)

    @override
    def _process_rewind_orchestration_action(
        self, instance: OrchestrationInstance, rewind_action: pb.RewindOrchestrationAction
    ) -> None:
        self._close(instance.instance_id)
        super()._process_rewind_orchestration_action(instance, rewind_action)
        self.reopen(instance)

    def reopen(self, instance: OrchestrationInstance) -> None:
        """Ask again for everything that the history asked for and neither history nor inbox answers."""
        answered = {_answers(event) for event in (*instance.history, *instance.pending_events)}
        waiting = self._opened(instance.instance_id)
        for event in instance.history:
            if ("task", event.eventId) in answered:
                continue
            if event.HasField("taskScheduled"):
                waiting.activities[event.eventId] = str(instance.completion_token)
                self._activity_queue.append(_activity(instance, event))
            elif event.HasField("timerCreated") and event.eventId not in waiting.timers:
                self._set_timer(instance, event.eventId, event.timerCreated.fireAt.ToDatetime(tzinfo=UTC))
            elif event.HasField("subOrchestrationInstanceCreated"):
                waiting.subs[event.eventId] = event.subOrchestrationInstanceCreated.instanceId

    # ---- queues and work

    @override
    def _enqueue_orchestration(self, instance_id: str) -> None:
        self._touched(instance_id)
        if instance_id not in self._starts:
            super()._enqueue_orchestration(instance_id)

    def take_queued(self) -> Queued:
        """Empty the queues."""
        taken = Queued(tuple(self._orchestration_queue), tuple(self._activity_queue), tuple(self._entity_queue))
        for queue in (self._orchestration_queue, self._activity_queue, self._entity_queue):
            queue.clear()
        self._orchestration_queue_set.clear()
        self._entity_queue_set.clear()
        return taken

    def work(self, queued: Queued) -> Iterable[pb.WorkItem]:
        """The work items of `queued` that are still wanted, each handed out once."""
        for instance_id in queued.orchestrations:
            if item := self._episode(instance_id):
                yield item
        for activity in queued.activities:
            waiting = self._open.get(activity.instance_id)
            if waiting and waiting.activities.get(activity.task_id) == str(activity.completion_token):
                yield _activity_work(activity)
        for entity_id in queued.entities:
            if item := self.batch(entity_id):
                yield item

    def _episode(self, instance_id: str) -> pb.WorkItem | None:
        instance = self._instances.get(instance_id)
        if instance is None or not instance.pending_events or instance_id in self._orchestration_in_flight:
            return None  # its completion queues it again
        if not self.versions.admits(instance.version) and self.versions.failure == "Reject":
            self._logger.warning("instance %s of version %s is not run by this host", instance_id, instance.version)
            return None
        instance.dispatched_events, instance.pending_events = instance.pending_events, []
        if not instance.dispatched_events[0].HasField("orchestratorStarted"):  # it carries current_utc_datetime
            instance.dispatched_events.insert(0, helpers.new_orchestrator_started_event(utcnow()))
        self._orchestration_in_flight.add(instance_id)
        request = pb.OrchestratorRequest(
            instanceId=instance_id, pastEvents=instance.history, newEvents=instance.dispatched_events
        )
        return pb.WorkItem(completionToken=str(instance.completion_token), orchestratorRequest=request)


def failure_action(kind: str, text: str) -> pb.OrchestratorAction:
    """The action that fails an orchestration, for a reason of the host's own."""
    details = pb.TaskFailureDetails(errorType=kind, errorMessage=text, isNonRetriable=True)
    failed = pb.CompleteOrchestrationAction(orchestrationStatus=pb.ORCHESTRATION_STATUS_FAILED, failureDetails=details)
    return pb.OrchestratorAction(id=-1, completeOrchestration=failed)


def _check_id(instance_id: str) -> None:
    """Azure Storage's own rules for an instance id; "" asks for a new one."""
    bad = any(c in "/\\#?" or ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in instance_id)
    if bad or instance_id.startswith("@") or len(instance_id) > MAX_ID:
        text = f"an instance id has at most {MAX_ID} characters, none of / \\ # ? or control, and no leading @"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


def _answers(event: pb.HistoryEvent) -> tuple[str, int] | None:
    match event.WhichOneof("eventType"):
        case "timerFired":
            return "task", event.timerFired.timerId
        case (
            "taskCompleted"
            | "taskFailed"
            | "subOrchestrationInstanceCompleted"
            | "subOrchestrationInstanceFailed" as kind
        ):
            return "task", getattr(event, kind).taskScheduledId
        case _:
            return None


def _activity(instance: OrchestrationInstance, event: pb.HistoryEvent) -> ActivityWorkItem:
    asked = event.taskScheduled
    encoded = asked.input.value if asked.HasField("input") else None
    return ActivityWorkItem(instance.instance_id, asked.name, event.eventId, encoded, instance.completion_token)


def _activity_work(activity: ActivityWorkItem) -> pb.WorkItem:
    request = pb.ActivityRequest(
        name=activity.name,
        taskId=activity.task_id,
        orchestrationInstance=pb.OrchestrationInstance(instanceId=activity.instance_id),
    )
    if activity.input is not None:
        request.input.value = activity.input
    return pb.WorkItem(completionToken=str(activity.completion_token), activityRequest=request)
