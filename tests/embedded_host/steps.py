"""The durable backend with the test in the worker's place: take a work item, answer it."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.internal import helpers
from google.protobuf import wrappers_pb2

from embedded_host.backend import DurableBackend
from embedded_host.refused import CALL
from embedded_host.versions import Versions

PATIENCE = 10.0  # seconds


class Bench:
    """`work` holds what the backend handed out; reopen as often as a test likes."""

    def __init__(self, path: Path, versions: Versions | None = None) -> None:
        self.path, self.versions = path, versions or Versions()
        self.backend: DurableBackend
        self.work: asyncio.Queue[pb.WorkItem] = asyncio.Queue()

    def open(self) -> None:
        """As a start of the host would."""
        self.work = asyncio.Queue()
        self.backend = DurableBackend(self.path, self.versions, self.work.put_nowait)
        self.backend.open()

    async def reopen(self) -> None:
        """Close the file and open it again: what was handed out and not answered is handed out again."""
        await self.backend.close()
        self.open()

    async def take(self) -> pb.WorkItem:
        """The next work item."""
        return await asyncio.wait_for(self.work.get(), PATIENCE)

    async def quiet(self) -> None:
        """Everything done so far is on the disk, and no work came of it."""
        await self.backend.sealed()
        assert self.work.empty(), self.work.get_nowait()

    async def start(self, instance_id: str, name: str = "some", at: datetime | None = None) -> None:
        """Start an instance."""
        request = pb.CreateInstanceRequest(instanceId=instance_id, name=name)
        if at is not None:
            request.scheduledStartTimestamp.FromDatetime(at)
        await self.backend.call("StartInstance", request)

    async def raise_event(self, instance_id: str, name: str) -> None:
        """Raise an event without data."""
        await self.backend.call("RaiseEvent", pb.RaiseEventRequest(instanceId=instance_id, name=name))

    def complete(self, item: pb.WorkItem, *actions: pb.OrchestratorAction) -> None:
        """Answer an orchestrator's episode."""
        response = pb.OrchestratorResponse(
            instanceId=item.orchestratorRequest.instanceId, actions=actions, completionToken=item.completionToken
        )
        self.backend.CompleteOrchestratorTask(response, CALL)

    async def episode(self, *actions: pb.OrchestratorAction) -> pb.WorkItem:
        """Take the next work item, which must be an episode, and answer it."""
        item = await self.take()
        assert item.HasField("orchestratorRequest"), item
        self.complete(item, *actions)
        return item

    def finish_activity(self, item: pb.WorkItem, result: str = '"done"') -> None:
        """Answer an activity."""
        asked = item.activityRequest
        response = pb.ActivityResponse(
            instanceId=asked.orchestrationInstance.instanceId, taskId=asked.taskId, completionToken=item.completionToken
        )
        response.result.value = result
        self.backend.CompleteActivityTask(response, CALL)

    def finish_operations(self, item: pb.WorkItem, state: str | None) -> list[str]:
        """Answer an entity's batch, each operation with null; returns the names of the operations."""
        batch, infos = helpers.convert_to_entity_batch_request(item.entityRequestV2)
        done = [pb.OperationResult(success=pb.OperationResultSuccess()) for _ in batch.operations]
        result = pb.EntityBatchResult(results=done, operationInfos=infos, completionToken=item.completionToken)
        if state is not None:
            result.entityState.CopyFrom(wrappers_pb2.StringValue(value=state))
        self.backend.complete_entity(item.entityRequestV2.instanceId, result)
        return [one.operation for one in batch.operations]

    async def signal(self, entity_id: str, operation: str, at: datetime | None = None) -> None:
        """Signal an entity."""
        request = pb.SignalEntityRequest(instanceId=entity_id, requestId=operation, name=operation)
        if at is not None:
            request.scheduledTime.FromDatetime(at)
        await self.backend.call("SignalEntity", request)

    def status(self, instance_id: str) -> int:
        """The orchestration's status."""
        return self.backend.find(instance_id).status


def activity(task_id: int, name: str = "work") -> pb.OrchestratorAction:
    """Ask for an activity."""
    return pb.OrchestratorAction(id=task_id, scheduleTask=pb.ScheduleTaskAction(name=name))


def timer(task_id: int, at: datetime) -> pb.OrchestratorAction:
    """Ask for a timer."""
    return helpers.new_create_timer_action(task_id, at)


def sub(task_id: int, instance_id: str) -> pb.OrchestratorAction:
    """Ask for a sub-orchestration."""
    asked = pb.CreateSubOrchestrationAction(name="child", instanceId=instance_id)
    return pb.OrchestratorAction(id=task_id, createSubOrchestration=asked)


def complete(
    status: pb.OrchestrationStatus = pb.ORCHESTRATION_STATUS_COMPLETED, result: str = "null"
) -> pb.OrchestratorAction:
    """End the orchestration, or this generation of it."""
    return helpers.new_complete_orchestration_action(99, status, result)


def lock(task_id: int, section: str, parent: str, *entities: str) -> pb.OrchestratorAction:
    """Ask for a critical section."""
    asked = pb.EntityLockRequestedEvent(criticalSectionId=section, lockSet=entities)
    asked.parentInstanceId.value = parent
    return pb.OrchestratorAction(id=task_id, sendEntityMessage=pb.SendEntityMessageAction(entityLockRequested=asked))


def call(task_id: int, parent: str, entity_id: str, operation: str) -> pb.OrchestratorAction:
    """Call an entity."""
    asked = pb.EntityOperationCalledEvent(requestId=f"{parent}-{task_id}", operation=operation)
    asked.parentInstanceId.value = parent
    asked.targetInstanceId.value = entity_id
    return pb.OrchestratorAction(id=task_id, sendEntityMessage=pb.SendEntityMessageAction(entityOperationCalled=asked))


def kinds(events: Iterable[pb.HistoryEvent]) -> list[str]:
    """The types of some events."""
    return [str(event.WhichOneof("eventType")) for event in events]
