"""The entity half of the sidecar, mended: locks that lock, delayed signals without threads, deletion.

Against the base: an entity inside a critical section serves only the orchestration that holds the lock (the base
notes the lock and serves everybody), the lock falls when that orchestration ends, a delayed signal is an alarm of
the event loop, and an entity left without state, lock and operations is gone. See `sidecar.py` for the other half.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import override

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from durabletask.entities.entity_instance_id import EntityInstanceId
from durabletask.testing.in_memory_backend import (
    EntityState,
    InMemoryOrchestrationBackend,
    OrchestrationInstance,
    PendingLockRequest,
)

from embedded_host.alarm import Alarm
from embedded_host.refused import CALL, Refused


class Watched[V](dict[str, V]):
    """A dict that reports each key that was set or deleted: the base changes its tables in a dozen places."""

    def __init__(self, touched: Callable[[str], None], removed: Callable[[str], None]) -> None:
        super().__init__()
        self._touched, self._removed = touched, removed

    @override
    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        self._touched(key)

    @override
    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._removed(key)
        self._touched(key)


class EntitySidecar(InMemoryOrchestrationBackend):
    """`_touched` is called with every instance or entity id whose state changed."""

    def __init__(self) -> None:
        super().__init__(max_history_size=sys.maxsize)  # the limit is ours: see Sidecar.CompleteOrchestratorTask
        self._entities: dict[str, EntityState] = Watched(self._touched, lambda _: None)
        self._lock_owners: dict[str, str] = {}  # critical section -> the orchestration inside
        self._signals: dict[int, tuple[str, datetime, pb.HistoryEvent, Alarm]] = {}
        self._next_signal = 1

    def _touched(self, key: str) -> None:
        """Hook: the state of this instance or entity changed."""

    @override
    def SignalEntity(self, request: pb.SignalEntityRequest, context: grpc.ServicerContext) -> pb.SignalEntityResponse:
        try:
            EntityInstanceId.parse(request.instanceId)
        except ValueError:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "an entity id is @name@key") from None
        return super().SignalEntity(request, context)

    @override
    def GetEntity(self, request: pb.GetEntityRequest, context: grpc.ServicerContext) -> pb.GetEntityResponse:
        entity = self._entities.get(request.instanceId)
        if entity is not None and entity.serialized_state is None and not entity.locked_by:
            return pb.GetEntityResponse(exists=False)  # deleted, or not yet made by its first operation
        return super().GetEntity(request, context)

    @override
    def CleanEntityStorage(
        self, request: pb.CleanEntityStorageRequest, context: grpc.ServicerContext
    ) -> pb.CleanEntityStorageResponse:
        for entity_id in self._entities:
            self._touched(entity_id)
        return super().CleanEntityStorage(request, context)

    def complete_entity(self, entity_id: str, result: pb.EntityBatchResult) -> None:
        """Take over what a batch of operations did; an entity left with nothing is forgotten."""
        self._touched(entity_id)
        self.CompleteEntityTask(result, CALL)
        entity = self._entities.get(entity_id)
        if entity and entity.serialized_state is None and not entity.pending_operations and not entity.locked_by:
            del self._entities[entity_id]

    # ---- critical sections

    @override
    def _grant_lock(self, pending: PendingLockRequest) -> None:
        self._lock_owners[pending.critical_section_id] = pending.parent_instance_id
        super()._grant_lock(pending)
        for entity_id in pending.lock_set:
            self._touched(entity_id)

    @override
    def _process_send_entity_message_action(
        self, instance: OrchestrationInstance, action: pb.OrchestratorAction
    ) -> None:
        super()._process_send_entity_message_action(instance, action)
        if action.sendEntityMessage.HasField("entityUnlockSent"):
            entity_id = action.sendEntityMessage.entityUnlockSent.targetInstanceId.value
            if entity_id in self._entities and not self._entities[entity_id].locked_by:
                self._unlock(entity_id)

    def _unlock(self, entity_id: str) -> None:
        entity = self._entities[entity_id]
        entity.locked_by = None
        self._touched(entity_id)
        if entity.pending_operations:
            self._enqueue_entity(entity_id)

    def release_locks(self, instance_id: str) -> None:
        """An orchestration ended: it neither holds nor waits for any lock."""
        waiting = [one for one in self._pending_lock_requests if one.parent_instance_id != instance_id]
        self._pending_lock_requests = waiting
        sections = {section for section, owner in self._lock_owners.items() if owner == instance_id}
        if not sections:
            return
        for entity_id, entity in self._entities.items():
            if entity.locked_by in sections:
                self._unlock(entity_id)
        for section in sections:
            del self._lock_owners[section]
        self._try_grant_pending_locks()

    # ---- delayed signals

    @override
    def _schedule_delayed_entity_operation(self, entity_id: str, event: pb.HistoryEvent, fire_at: datetime) -> None:
        self.delay_signal(self._next_signal, entity_id, fire_at, event)

    def delay_signal(self, number: int, entity_id: str, when: datetime, event: pb.HistoryEvent) -> None:
        """Queue an entity operation at `when`; `number` names it until then."""

        def ring() -> None:
            del self._signals[number]
            self._queue_entity_operation(entity_id, event)

        self._signals[number] = entity_id, when, event, Alarm(when, ring)
        self._next_signal = max(self._next_signal, number + 1)
        self._touched(entity_id)

    # ---- queue and work

    @override
    def _enqueue_entity(self, entity_id: str) -> None:
        self._touched(entity_id)
        super()._enqueue_entity(entity_id)

    def batch(self, entity_id: str) -> pb.WorkItem | None:
        """The operations that the entity serves now, as one work item; None where there are none or one is out."""
        entity = self._entities.get(entity_id)
        if entity is None or entity_id in self._entity_in_flight:
            return None  # its completion queues it again
        owner = self._lock_owners.get(entity.locked_by) if entity.locked_by else None
        served = [e for e in entity.pending_operations if owner is None or _caller(e) == owner]
        if not served:
            return None
        waiting = [e for e in entity.pending_operations if owner is not None and _caller(e) != owner]
        entity.pending_operations, entity.dispatched_operations = waiting, served
        self._entity_in_flight.add(entity_id)
        request = pb.EntityRequest(instanceId=entity_id, operationRequests=served)
        if entity.serialized_state is not None:
            request.entityState.value = entity.serialized_state
        return pb.WorkItem(completionToken=str(entity.completion_token), entityRequestV2=request)


def _caller(event: pb.HistoryEvent) -> str:
    return event.entityOperationCalled.parentInstanceId.value if event.HasField("entityOperationCalled") else ""
