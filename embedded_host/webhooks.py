"""The Durable extension's HTTP API, `/runtime/webhooks/durabletask/...`, behind its system key.

Start, status, list, raise event, terminate, suspend, resume, restart, rewind, purge, and reading and signalling
entities, with the status codes of the extension's `HttpApiHandler`. Left out: `createAndWait` (poll the status), and
the 1.x clients' local RPC endpoint. Links carry the system key, which opens every orchestration: they are for
operators, never for a person who is to decide one thing.
https://learn.microsoft.com/azure/azure-functions/durable/durable-functions-http-api
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote, unquote, urlencode

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from aiohttp import web
from google.protobuf import json_format, timestamp_pb2, wrappers_pb2

from embedded_host.backend import DurableBackend
from embedded_host.dispatch import Catalogue
from embedded_host.keys import Keys
from embedded_host.refused import Refused
from embedded_host.rpc import MAX_MESSAGE
from embedded_host.settings import Settings

PREFIX = "/runtime/webhooks/durabletask/"
STATUS = {
    pb.ORCHESTRATION_STATUS_RUNNING: "Running",
    pb.ORCHESTRATION_STATUS_COMPLETED: "Completed",
    pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW: "ContinuedAsNew",
    pb.ORCHESTRATION_STATUS_FAILED: "Failed",
    pb.ORCHESTRATION_STATUS_CANCELED: "Canceled",
    pb.ORCHESTRATION_STATUS_TERMINATED: "Terminated",
    pb.ORCHESTRATION_STATUS_PENDING: "Pending",
    pb.ORCHESTRATION_STATUS_SUSPENDED: "Suspended",
}
BY_NAME = {name.lower(): status for status, name in STATUS.items()}
ENDED = ("Completed", "Failed", "Terminated", "Canceled")
PAGE = 100  # instances in one answer where the caller names no `top`
CONTINUATION = "x-ms-continuation-token"
ANSWERS = {
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 410,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAVAILABLE: 503,
}


class BadRequest(ValueError):  # noqa: N818 (HTTP's own name)
    """The request cannot be read; the text says why and is sent back."""


class DurableWebhooks:
    """Answers below PREFIX; `origin` is the host's own scheme and authority, `rpc` the sidecar's gRPC address."""

    def __init__(
        self, backend: DurableBackend, catalogue: Catalogue, keys: Keys, settings: Settings, origin: str, rpc: str
    ) -> None:
        self.settings = settings
        self._backend, self._catalogue, self._keys = backend, catalogue, keys
        self._origin, self._rpc = origin, rpc

    # ---- links

    def _query(self) -> str:
        return urlencode({"taskHub": self.settings.hub_name, "connection": "Storage", "code": self._keys.durabletask})

    def links(self, instance_id: str) -> dict[str, str]:
        """The management URLs of one instance; each carries the system key."""
        instance, key = f"{self._origin}{PREFIX}instances/{quote(instance_id, safe='')}", self._query()
        return {
            "id": instance_id,
            "statusQueryGetUri": f"{instance}?{key}",
            "sendEventPostUri": f"{instance}/raiseEvent/{{eventName}}?{key}",
            "terminatePostUri": f"{instance}/terminate?reason={{text}}&{key}",
            "rewindPostUri": f"{instance}/rewind?reason={{text}}&{key}",
            "purgeHistoryDeleteUri": f"{instance}?{key}",
            "restartPostUri": f"{instance}/restart?{key}",
            "suspendPostUri": f"{instance}/suspend?reason={{text}}&{key}",
            "resumePostUri": f"{instance}/resume?reason={{text}}&{key}",
        }

    def client_binding(self) -> str:
        """The JSON that the `durableClient` binding hands to the app's client."""
        base = f"{self._origin}{PREFIX}".rstrip("/")
        create = f"{base}/orchestrators/{{functionName}}[/{{instanceId}}]?{self._query()}"
        binding = {
            "taskHubName": self.settings.hub_name,
            "connectionName": "Storage",
            "creationUrls": {"createNewInstancePostUri": create},
            "managementUrls": self.links("INSTANCEID"),
            "baseUrl": base,
            "httpBaseUrl": base,
            "requiredQueryStringParameters": self._query(),
            "rpcBaseUrl": self._rpc,
            "maxGrpcMessageSizeInBytes": MAX_MESSAGE,
        }
        return json.dumps(binding)

    # ---- requests

    async def answer(self, request: web.Request, key: str) -> web.Response:
        """One request; `key` is what it carries."""
        if not self._keys.open_durable(key):
            return web.Response(status=401)
        path = [unquote(part) for part in request.rel_url.raw_path.removeprefix(PREFIX).split("/") if part]
        try:
            return await self._route(request, path)
        except Refused as no:
            return _message(str(no), ANSWERS.get(no.code, 500))
        except BadRequest as bad:
            return _message(str(bad), 400)

    async def _route(self, request: web.Request, path: list[str]) -> web.Response:
        match request.method, [part.lower() for part in path[:1]] + path[1:]:
            case "POST", ["orchestrators", name]:
                return await self._start(request, name, uuid.uuid4().hex)
            case "POST", ["orchestrators", name, instance_id]:
                return await self._start(request, name, instance_id)
            case "GET", ["instances"]:
                return await self._list(request)
            case "DELETE", ["instances"]:
                return await self._purge_many(request)
            case "GET", ["instances", instance_id]:
                return await self._status(request, instance_id)
            case "DELETE", ["instances", instance_id]:
                return await self._purge(pb.PurgeInstancesRequest(instanceId=instance_id))
            case "POST", ["instances", instance_id, verb, *rest]:
                return await self._command(request, instance_id, verb.lower(), rest)
            case ("GET" | "POST") as method, ["entities", name, key]:
                return await (self._entity if method == "GET" else self._signal)(request, f"@{name.lower()}@{key}")
            case _:
                return web.Response(status=404)

    async def _start(self, request: web.Request, name: str, instance_id: str) -> web.Response:
        if name.lower() not in self._catalogue.orchestrations:
            raise BadRequest(f"The function '{name}' doesn't exist, is disabled, or is not an orchestrator function.")
        asked = pb.CreateInstanceRequest(instanceId=instance_id, name=name)
        if (body := await _json_body(request)) is not None:
            asked.input.value = body
        await self._backend.call("StartInstance", asked)
        return self._accepted(instance_id)

    def _accepted(self, instance_id: str) -> web.Response:
        links = self.links(instance_id)
        headers = {"Location": links["statusQueryGetUri"], "Retry-After": "10"}
        return web.json_response(links, status=202, headers=headers)

    async def _status(self, request: web.Request, instance_id: str) -> web.Response:
        asked = pb.GetInstanceRequest(instanceId=instance_id, getInputsAndOutputs=True)
        found = await self._backend.call("GetInstance", asked)
        if not found.exists:
            return web.Response(status=404)
        view = _view(found.orchestrationState, show_input=_flag(request, "showInput", default=True))
        if _flag(request, "showHistory", default=False):
            view["historyEvents"] = [_history(event) for event in self._backend.find(instance_id).history]
        if view["runtimeStatus"] not in ENDED:
            return web.json_response(view, status=202, headers={"Location": str(request.url), "Retry-After": "5"})
        failed = view["runtimeStatus"] == "Failed"
        return web.json_response(view, status=500 if failed and _flag(request, FAILURE_500, default=False) else 200)

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query
        asked = pb.InstanceQuery(maxInstanceCount=_number(query.get("top")) or PAGE, fetchInputsAndOutputs=True)
        asked.runtimeStatus.extend(_statuses(query.get("runtimeStatus")))
        for name, stamp in (("createdTimeFrom", asked.createdTimeFrom), ("createdTimeTo", asked.createdTimeTo)):
            if name in query:
                stamp.CopyFrom(_timestamp(name, query[name]))
        if prefix := query.get("instanceIdPrefix"):
            asked.instanceIdPrefix.value = prefix
        if token := request.headers.get(CONTINUATION):
            asked.continuationToken.value = token
        found = await self._backend.call("QueryInstances", pb.QueryInstancesRequest(query=asked))
        show = _flag(request, "showInput", default=True)
        views = [_view(one, show_input=show) for one in found.orchestrationState]
        token = found.continuationToken.value if found.HasField("continuationToken") else ""
        return web.json_response(views, headers={CONTINUATION: token} if token else {})

    async def _purge_many(self, request: web.Request) -> web.Response:
        query, which = request.query, pb.PurgeInstanceFilter()
        if "createdTimeFrom" not in query:
            raise BadRequest("name createdTimeFrom: purging everything must be asked for")
        which.createdTimeFrom.CopyFrom(_timestamp("createdTimeFrom", query["createdTimeFrom"]))
        if "createdTimeTo" in query:
            which.createdTimeTo.CopyFrom(_timestamp("createdTimeTo", query["createdTimeTo"]))
        which.runtimeStatus.extend(_statuses(query.get("runtimeStatus")))
        return await self._purge(pb.PurgeInstancesRequest(purgeInstanceFilter=which))

    async def _purge(self, asked: pb.PurgeInstancesRequest) -> web.Response:
        count = (await self._backend.call("PurgeInstances", asked)).deletedInstanceCount
        return web.json_response({"instancesDeleted": count}, status=200 if count else 404)

    async def _command(self, request: web.Request, instance_id: str, verb: str, rest: list[str]) -> web.Response:
        reason = wrappers_pb2.StringValue(value=request.query.get("reason", ""))
        match verb, rest:
            case "raiseevent", [event]:
                body = await _json_body(request, "Only application/json request content is supported")
                given = wrappers_pb2.StringValue(value="null" if body is None else body)
                asked = pb.RaiseEventRequest(instanceId=instance_id, name=event, input=given)
                await self._backend.call("RaiseEvent", asked)
            case "terminate", []:
                output = wrappers_pb2.StringValue(value=json.dumps(reason.value))
                asked = pb.TerminateRequest(instanceId=instance_id, output=output, recursive=True)
                await self._backend.call("TerminateInstance", asked)
            case "suspend", []:
                await self._backend.call("SuspendInstance", pb.SuspendRequest(instanceId=instance_id, reason=reason))
            case "resume", []:
                await self._backend.call("ResumeInstance", pb.ResumeRequest(instanceId=instance_id, reason=reason))
            case "rewind", []:
                asked = pb.RewindInstanceRequest(instanceId=instance_id, reason=reason)
                await self._backend.call("RewindInstance", asked)
            case "restart", []:
                fresh = _flag(request, "restartWithNewInstanceId", default=True)
                asked = pb.RestartInstanceRequest(instanceId=instance_id, restartWithNewInstanceId=fresh)
                return self._accepted((await self._backend.call("RestartInstance", asked)).instanceId)
            case _:
                return web.Response(status=404)
        return web.Response(status=202)

    async def _entity(self, request: web.Request, entity_id: str) -> web.Response:
        found = await self._backend.call("GetEntity", pb.GetEntityRequest(instanceId=entity_id, includeState=True))
        if not found.exists or not found.entity.HasField("serializedState"):
            return web.Response(status=404)
        return web.json_response(text=found.entity.serializedState.value)

    async def _signal(self, request: web.Request, entity_id: str) -> web.Response:
        asked = pb.SignalEntityRequest(instanceId=entity_id, requestId=str(uuid.uuid4()))
        asked.name = request.query.get("op", "")
        if (body := await _json_body(request)) is not None:
            asked.input.value = body
        await self._backend.call("SignalEntity", asked)
        return web.Response(status=202)


FAILURE_500 = "returnInternalServerErrorOnFailure"


def _message(text: str, status: int) -> web.Response:
    return web.json_response({"message": text}, status=status)


async def _json_body(request: web.Request, only_json: str = "") -> str | None:
    """The body as JSON text, None where it is empty. Raises BadRequest."""
    raw = await request.read()
    if only_json and request.content_type != "application/json":
        raise BadRequest(only_json)
    if not raw.strip():
        return None
    try:
        json.loads(raw)
        return raw.decode("utf-8")
    except ValueError:
        raise BadRequest("Invalid JSON content") from None


def _view(state: pb.OrchestrationState, *, show_input: bool) -> dict[str, Any]:
    failed = state.HasField("failureDetails") and state.orchestrationStatus == pb.ORCHESTRATION_STATUS_FAILED
    return {
        "name": state.name,
        "instanceId": state.instanceId,
        "runtimeStatus": STATUS[state.orchestrationStatus],
        "input": _loaded(state.input) if show_input and state.HasField("input") else None,
        "customStatus": _loaded(state.customStatus) if state.HasField("customStatus") else None,
        "output": state.failureDetails.errorMessage if failed else _loaded(state.output),
        "createdTime": _stamp(state.createdTimestamp),
        "lastUpdatedTime": _stamp(state.lastUpdatedTimestamp),
    }


def _history(event: pb.HistoryEvent) -> dict[str, Any]:
    """An event as the extension shows it: its type, its time, its names; payloads stay out."""
    kind = cast("str", event.WhichOneof("eventType"))
    body = json_format.MessageToDict(getattr(event, kind))
    shown = {
        key[0].upper() + key[1:]: value for key, value in body.items() if key in ("name", "taskScheduledId", "fireAt")
    }
    return {"EventType": kind[0].upper() + kind[1:], "Timestamp": _stamp(event.timestamp), **shown}


def _loaded(value: wrappers_pb2.StringValue) -> Any:
    return json.loads(value.value) if value.value else None


def _stamp(stamp: timestamp_pb2.Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _flag(request: web.Request, name: str, *, default: bool) -> bool:
    given = request.query.get(name)
    return default if given is None else given.lower() == "true"


def _number(given: str | None) -> int:
    if given is None:
        return 0
    if not given.isdecimal() or not 0 < int(given) < 2**31:
        raise BadRequest(f"top: {given!r} is not a positive number")
    return int(given)


def _statuses(given: str | None) -> list[pb.OrchestrationStatus]:
    names = [name.strip() for name in (given or "").split(",") if name.strip()]
    if unknown := [name for name in names if name.lower() not in BY_NAME]:
        raise BadRequest(f"runtimeStatus: {', '.join(unknown)} is not one of {', '.join(STATUS.values())}")
    return [BY_NAME[name.lower()] for name in names]


def _timestamp(name: str, given: str) -> timestamp_pb2.Timestamp:
    try:
        when = datetime.fromisoformat(given)
    except ValueError:
        raise BadRequest(f"{name}: {given!r} is not an ISO 8601 time") from None
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(when if when.tzinfo else when.replace(tzinfo=UTC))
    return stamp
