"""The gRPC door of the sidecar, for the durable client inside the app's own process.

The 2.x client speaks gRPC, so something must listen. It is a Unix socket in a directory that only this account may
enter: no port is open, and other accounts on the machine are kept out by the kernel. Only what a client may ask is
served; the worker's half of the service (GetWorkItems, Complete...) is not.
"""

import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from embedded_host.backend import DurableBackend
from embedded_host.refused import Refused

MAX_SOCKET_PATH = 100  # bytes; sockaddr_un has 104 to 108, by platform
MAX_WAIT = 300.0  # seconds that one WaitFor... call is held where the client names no deadline
MAX_MESSAGE = 64 * 1024 * 1024  # bytes; gRPC's own 4 MiB would make a large output unreadable
HISTORY_CHUNK = 100  # events in one message of a history stream
ASKED = (
    "StartInstance",
    "GetInstance",
    "RaiseEvent",
    "TerminateInstance",
    "SuspendInstance",
    "ResumeInstance",
    "PurgeInstances",
    "RestartInstance",
    "RewindInstance",
    "QueryInstances",
    "ListInstanceIds",
    "SignalEntity",
    "GetEntity",
    "QueryEntities",
    "CleanEntityStorage",
)


class SidecarDoor(stubs.TaskHubSidecarServiceServicer):
    """Serves a backend on a Unix socket; `address` is what a gRPC client dials."""

    def __init__(self, backend: DurableBackend, directory: Path) -> None:
        """`directory` belongs to this account alone; a path too long for a socket is replaced by a private one."""
        self._backend = backend
        self._private: tempfile.TemporaryDirectory[str] | None = None
        path = directory / "sidecar.sock"
        if len(str(path).encode()) > MAX_SOCKET_PATH:
            self._private = tempfile.TemporaryDirectory(prefix="sallyport-")
            path = Path(self._private.name) / "sidecar.sock"
        self._path = path
        self.address = f"unix:{path}"
        for name in ASKED:
            setattr(self, name, partial(self._ask, name))

    async def start(self) -> None:
        """Listen. A socket that a killed host left behind is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
        )
        stubs.add_TaskHubSidecarServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(self.address)
        await self._server.start()
        self._path.chmod(0o600)

    async def stop(self, grace: float) -> None:
        """Let calls under way end within `grace` seconds, then close."""
        await self._server.stop(grace)
        self._path.unlink(missing_ok=True)
        if self._private is not None:
            self._private.cleanup()

    async def _ask(self, name: str, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await self._backend.call(name, request)
        except Refused as no:
            await context.abort(no.code, str(no))

    async def WaitForInstanceStart(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:  # noqa: N802
        return await self._wait(request, context, lambda one: one.status != pb.ORCHESTRATION_STATUS_PENDING)

    async def WaitForInstanceCompletion(self, request: pb.GetInstanceRequest, context: Any) -> pb.GetInstanceResponse:  # noqa: N802
        return await self._wait(request, context, self._backend.is_terminal)

    async def _wait(self, request: pb.GetInstanceRequest, context: Any, settled: Any) -> pb.GetInstanceResponse:
        limit: float = min(context.time_remaining() or MAX_WAIT, MAX_WAIT)
        found: pb.GetInstanceResponse = await self._ask("GetInstance", request, context)
        if found.exists and not await self._backend.wait_until(request.instanceId, settled, limit):
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"'{request.instanceId}' is not there yet")
        return await self._ask("GetInstance", request, context)

    async def StreamInstanceHistory(  # noqa: N802
        self, request: pb.StreamInstanceHistoryRequest, context: Any
    ) -> AsyncIterator[pb.HistoryChunk]:
        try:
            await self._backend.sealed()
            history = list(self._backend.find(request.instanceId).history)
        except Refused as no:
            await context.abort(no.code, str(no))
            return
        for start in range(0, len(history), HISTORY_CHUNK):
            yield pb.HistoryChunk(events=history[start : start + HISTORY_CHUNK])
