"""The sidecar's gRPC door."""

import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import grpc.aio
import pytest
from durabletask.internal import orchestrator_service_pb2_grpc as stubs

from embedded_host.rpc import SidecarDoor
from tests.embedded_host.steps import Bench, complete


@pytest.fixture
async def door(bench: Bench, tmp_path: Path) -> AsyncGenerator[SidecarDoor]:
    """A door to the bench's backend, where a killed host has left its socket behind."""
    (tmp_path / "sidecar.sock").touch()
    one = SidecarDoor(bench.backend, tmp_path)
    await one.start()
    yield one
    await one.stop(grace=1)
    assert not (tmp_path / "sidecar.sock").exists()


@pytest.fixture
async def client(door: SidecarDoor) -> AsyncGenerator[Any]:
    """A gRPC client of the service."""
    async with grpc.aio.insecure_channel(door.address) as channel:
        yield stubs.TaskHubSidecarServiceStub(channel)


async def test_only_this_account_may_knock(door: SidecarDoor) -> None:
    """A Unix socket of mode 0600."""
    assert door.address.startswith("unix:/")
    mode = os.stat(door.address.removeprefix("unix:")).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_client_may_ask_and_hears_why_not(bench: Bench, client: Any) -> None:
    """Start, wait, history; a refusal carries its status."""
    await client.StartInstance(pb.CreateInstanceRequest(instanceId="a", name="some"), timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await client.WaitForInstanceCompletion(pb.GetInstanceRequest(instanceId="a"), timeout=0.2)
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await bench.episode(complete())
    ended = await client.WaitForInstanceCompletion(pb.GetInstanceRequest(instanceId="a"), timeout=10)
    assert ended.orchestrationState.orchestrationStatus == pb.ORCHESTRATION_STATUS_COMPLETED
    chunks = client.StreamInstanceHistory(pb.StreamInstanceHistoryRequest(instanceId="a"), timeout=10)
    assert [event.WhichOneof("eventType") async for chunk in chunks for event in chunk.events][
        -1
    ] == "executionCompleted"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.RaiseEvent(pb.RaiseEventRequest(instanceId="a", name="go"), timeout=10)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("CompleteOrchestratorTask", pb.OrchestratorResponse(instanceId="a")),
        ("CompleteActivityTask", pb.ActivityResponse(instanceId="a")),
        ("CompleteEntityTask", pb.EntityBatchResult()),
    ],
)
async def test_a_client_may_not_play_the_worker(client: Any, method: str, request_: object) -> None:
    """Nobody outside the host answers for a function."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(client, method)(request_, timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
