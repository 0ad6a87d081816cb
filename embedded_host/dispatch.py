"""Carries the sidecar's work items to the app's functions and the answers back.

What a function answers is what the extension's own out-of-process path expects: orchestrators and entities return a
base64 protobuf, activities plain JSON. A function that is missing or fails outright fails its orchestration, activity
or operations; it never leaves them waiting.
"""

import asyncio
import base64
import json
import logging
from dataclasses import dataclass, field

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.internal import helpers
from google.protobuf import wrappers_pb2
from google.protobuf.message import DecodeError, Message

from embedded_host.backend import DurableBackend
from embedded_host.messages import TypedData
from embedded_host.refused import CALL
from embedded_host.sidecar import failure_action
from embedded_host.worker import Function, FunctionFailed, Worker

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Catalogue:
    """The app's durable functions by kind and lower-cased name."""

    orchestrations: dict[str, Function] = field(default_factory=dict[str, Function])
    activities: dict[str, Function] = field(default_factory=dict[str, Function])
    entities: dict[str, Function] = field(default_factory=dict[str, Function])

    def take(self, functions: dict[str, Function]) -> None:
        """Sort the indexed functions into the three."""
        for function in functions.values():
            match function.kind:
                case "orchestrationTrigger":
                    self.orchestrations[function.durable_name("orchestration")] = function
                case "activityTrigger":
                    self.activities[function.durable_name("activity")] = function
                case "entityTrigger":
                    self.entities[function.durable_name("entityName")] = function
                case _:
                    pass


class Dispatcher:
    """Runs work items as tasks, at most `episodes` orchestrator or entity steps and `activities` activities at once."""

    def __init__(self, worker: Worker, catalogue: Catalogue, activities: int, episodes: int) -> None:
        self.backend: DurableBackend  # set by the host: the two know each other
        self.client = "{}"  # the durable client binding's JSON, known once the host listens
        self._worker, self._catalogue = worker, catalogue
        self._activities, self._episodes = asyncio.Semaphore(activities), asyncio.Semaphore(episodes)
        self._running: set[asyncio.Task[None]] = set()

    def submit(self, item: pb.WorkItem) -> None:
        """Start one work item."""
        task = asyncio.create_task(self._run(item))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.critical("a work item ended without an answer", exc_info=error)
            if not self.backend.failed.done():
                self.backend.failed.set_exception(error)  # fail stop: after a restart it is asked for again

    async def drain(self, limit: float) -> None:
        """Wait for what runs, at most `limit` seconds; cancel the rest: after a restart it runs again."""
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=limit)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=limit)

    async def _run(self, item: pb.WorkItem) -> None:
        match item.WhichOneof("request"):
            case "orchestratorRequest":
                async with self._episodes:
                    await self._orchestrate(item)
            case "activityRequest":
                async with self._activities:
                    await self._act(item)
            case "entityRequestV2":
                async with self._episodes:
                    await self._operate(item)
            case other:
                raise RuntimeError(f"the sidecar asked for {other}")

    async def _orchestrate(self, item: pb.WorkItem) -> None:
        request = item.orchestratorRequest
        events = (*request.pastEvents, *request.newEvents)
        started = next(e.executionStarted for e in events if e.HasField("executionStarted"))
        response = pb.OrchestratorResponse()
        try:
            self._check_version(started.version.value)
            function = self._find(self._catalogue.orchestrations, started.name, "an orchestrator")
            response = await self._invoke_binary(function, request.SerializeToString(), pb.OrchestratorResponse)
        except FunctionFailed as failed:
            failed.log(f"orchestrator {started.name} of {request.instanceId}")
            response.actions.append(failure_action(failed.kind, failed.text))
        response.instanceId, response.completionToken = request.instanceId, item.completionToken
        self.backend.CompleteOrchestratorTask(response, CALL)

    async def _act(self, item: pb.WorkItem) -> None:
        request = item.activityRequest
        response = pb.ActivityResponse(
            instanceId=request.orchestrationInstance.instanceId,
            taskId=request.taskId,
            completionToken=item.completionToken,
        )
        try:
            function = self._find(self._catalogue.activities, request.name, "an activity")
            given = request.input.value if request.HasField("input") else "null"
            answer = await self._worker.invoke(function, TypedData(string=given), self.client)
            if answer.kind is not None:
                response.result.value = str(answer.value) if answer.kind == "json" else json.dumps(answer.value)
        except FunctionFailed as failed:
            response.failureDetails.CopyFrom(_details(failed))
        self.backend.CompleteActivityTask(response, CALL)

    async def _operate(self, item: pb.WorkItem) -> None:
        request = item.entityRequestV2
        entity_id = request.instanceId
        batch, operations = helpers.convert_to_entity_batch_request(request)
        result = pb.EntityBatchResult()
        try:
            function = self._find(self._catalogue.entities, entity_id.split("@")[1], "an entity")
            result = await self._invoke_binary(function, batch.SerializeToString(), pb.EntityBatchResult)
        except FunctionFailed as failed:
            failed.log(f"entity {entity_id}")
            failure = pb.OperationResult(failure=pb.OperationResultFailure(failureDetails=_details(failed)))
            result = pb.EntityBatchResult(results=[failure] * len(batch.operations))
            if request.HasField("entityState"):
                result.entityState.CopyFrom(request.entityState)
        result.completionToken = item.completionToken
        if not result.operationInfos:
            result.operationInfos.extend(operations)
        self.backend.complete_entity(entity_id, result)

    def _check_version(self, version: str) -> None:
        if not self.backend.versions.admits(version):
            raise FunctionFailed("VersionMismatch", f"this host does not run version '{version}'")

    def _find(self, among: dict[str, Function], name: str, what: str) -> Function:
        function = among.get(name.lower())
        if function is None:
            text = f"The function '{name}' doesn't exist, is disabled, or is not {what} function."
            raise FunctionFailed("FunctionNotFound", text)
        return function

    async def _invoke_binary[M: Message](self, function: Function, payload: bytes, answered: type[M]) -> M:
        """Orchestrators and entities take and give protobuf in base64, as a JSON or a plain string."""
        encoded = base64.b64encode(payload).decode()
        answer = await self._worker.invoke(function, TypedData(string=encoded), self.client)
        try:
            return answered.FromString(base64.b64decode(str(answer.value).strip('"'), validate=True))
        except (ValueError, DecodeError):
            text = f"{function.name} did not answer as a durable function does"
            raise FunctionFailed("InvalidOperationException", text) from None


def _details(failed: FunctionFailed) -> pb.TaskFailureDetails:
    """Text and traceback as the app raised them: they are the orchestrator's to see, not an HTTP client's."""
    return pb.TaskFailureDetails(
        errorType=failed.kind, errorMessage=failed.text, stackTrace=wrappers_pb2.StringValue(value=failed.stack)
    )
