"""The orchestration is deterministic: released histories replay, cut at every episode, and it uses only what durable 1.7 and 2.x share."""

import ast
import base64
import inspect
from itertools import pairwise
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import msgspec
import pytest
from azure.durable_functions.worker import DurableFunctionsWorker

from function_app.orchestrators import adjudicate
from tests.function_app.indexed import functions
from tests.function_app.record_histories import HISTORIES, STORIES

GOLDEN = sorted(HISTORIES.rglob("*.json"))
FED = ("orchestratorStarted", "executionStarted", "taskCompleted", "taskFailed", "timerFired", "eventRaised")
type Step = tuple[str, str, str]


class Golden(msgspec.Struct, frozen=True):
    """A recorded history: protobuf events, in order."""

    version: str
    story: str
    instance: str
    events: tuple[bytes, ...]


def asked(action: pb.OrchestratorAction) -> Step:
    """What the orchestration asks for now."""
    match action.WhichOneof("orchestratorActionType"):
        case "scheduleTask":
            return "activity", action.scheduleTask.name, action.scheduleTask.input.value
        case "createTimer":
            return "timer", action.createTimer.fireAt.ToJsonString(), ""
        case kind:
            return "end", str(kind), ""


def recorded(event: pb.HistoryEvent) -> Step | None:
    """What it asked for when the history was recorded."""
    match event.WhichOneof("eventType"):
        case "taskScheduled":
            return "activity", event.taskScheduled.name, event.taskScheduled.input.value
        case "timerCreated":
            return "timer", event.timerCreated.fireAt.ToJsonString(), ""
        case "executionCompleted":
            return "end", "completeOrchestration", ""
        case _:
            return None


def replay(events: list[pb.HistoryEvent]) -> list[tuple[list[Step], list[Step]]]:
    """For each episode: what it asks for, given everything before, and what the history says it did."""
    starts = [number for number, event in enumerate(events) if event.HasField("orchestratorStarted")] + [len(events)]
    episodes: list[tuple[list[Step], list[Step]]] = []
    for begin, end in pairwise(starts):
        new = [event for event in events[begin:end] if event.WhichOneof("eventType") in FED]
        request = pb.OrchestratorRequest(instanceId="replayed", pastEvents=events[:begin], newEvents=new)
        encoded = base64.b64encode(request.SerializeToString()).decode()
        function = next(one for one in functions() if one.get_function_name() == "adjudicate")
        body = function.get_user_function()
        answer = DurableFunctionsWorker().execute_orchestration_request(body.orchestrator_function, encoded)
        response = pb.OrchestratorResponse.FromString(base64.b64decode(answer))
        did = [step for step in map(recorded, events[begin:end]) if step is not None]
        episodes.append(([asked(action) for action in response.actions], did))
    return episodes


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_released_history_replays(path: Path):
    """Instances that wait for people outlive a deployment: each episode asks for exactly what it asked for then."""
    golden = msgspec.json.decode(path.read_bytes(), type=Golden)
    for number, (now, then) in enumerate(replay([pb.HistoryEvent.FromString(event) for event in golden.events])):
        instance = [(kind, name, text.replace(golden.instance, "replayed")) for kind, name, text in then]
        assert now == instance, f"episode {number}"


def test_every_story_of_every_version_is_kept():
    """A released version's histories are never dropped."""
    wanted = {(version, story.__name__) for version in adjudicate.VERSIONS for story in STORIES}
    assert {(path.parent.name, path.stem) for path in GOLDEN} == wanted


def test_a_changed_orchestration_would_be_noticed():
    """The replay can fail: an answer other than the recorded one leads elsewhere."""
    golden = msgspec.json.decode((HISTORIES / "1.0" / "approved.json").read_bytes(), type=Golden)
    events = [pb.HistoryEvent.FromString(event) for event in golden.events]
    for event in events:
        if event.HasField("taskCompleted") and '"state":"open"' in event.taskCompleted.result.value.replace(" ", ""):
            event.taskCompleted.result.value = '{"state": "denied", "missing": 0}'
            break
    assert any(now != then for now, then in replay(events))


def test_only_the_common_part_of_the_api_is_used():
    """What durable 1.7 has too, so that it stays the fallback."""
    tree = ast.parse(inspect.getsource(adjudicate))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "context"
    }
    assert used <= {
        "call_activity",
        "continue_as_new",
        "create_timer",
        "current_utc_datetime",
        "get_input",
        "instance_id",
        "set_custom_status",
        "task_any",
        "version",
        "wait_for_external_event",
    }
