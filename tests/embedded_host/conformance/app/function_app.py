"""The conformance app: one orchestrator for each promise, and routes that use the durable client.

It is an ordinary Azure Functions v2 app: the same directory is deployed to Azure's own host (`func azure functionapp
publish`, or `func start`) to run the same suite there. State that a test wants to see from outside (how often an
activity ran) is in entities, so that the app needs no file or database of its own.
"""

# The 1.x API that 2.x still offers, so that the app runs on both; 2.x declares it deprecated, and types it by its own names.
# pyright: reportDeprecated=false, reportArgumentType=false, reportUnusedFunction=false, reportAttributeAccessIssue=false, reportMissingTypeArgument=false

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import azure.durable_functions as df
import azure.functions as func

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)


def answer(value: Any, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(value), status_code=status, mimetype="application/json")


def event_data(data: Any) -> Any:
    """The 1.x client hands an event's data over as JSON text, the 2.x client as the value."""
    try:
        return json.loads(data) if isinstance(data, str) else data
    except ValueError:
        return data


# ---- routes that use the durable client


@app.route(route="start/{name}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    given = req.get_json() if req.get_body() else None
    name, instance_id = req.route_params["name"], req.route_params["id"]
    await client.start_new(name, instance_id=instance_id, client_input=given)
    return client.create_check_status_response(req, instance_id)


@app.route(route="start_at/{name}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def start_at(req: func.HttpRequest, client: Any) -> func.HttpResponse:
    when = datetime.now(UTC) + timedelta(seconds=float(req.params["after"]))
    await client.schedule_new_orchestration(
        req.route_params["name"], input=None, instance_id=req.route_params["id"], start_at=when
    )
    return answer({"at": when.isoformat()}, 202)


@app.route(route="client/{verb}/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def command(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """One call of the durable client; what it raises is told by its type and gRPC status."""
    verb, instance_id = req.route_params["verb"], req.route_params["id"]
    given = req.get_json() if req.get_body() else None
    try:
        match verb:
            case "raise":
                await client.raise_event(instance_id, req.params["event"], given)
            case "terminate":
                await client.terminate(instance_id, req.params["reason"])
            case "suspend":
                await client.suspend(instance_id, "asked")
            case "resume":
                await client.resume(instance_id, "asked")
            case "purge":
                return answer((await client.purge_instance_history(instance_id)).instances_deleted)
            case "signal":
                entity = df.EntityId(req.params["entity"], instance_id)
                after = timedelta(seconds=float(req.params.get("after", "0")))
                when = datetime.now(UTC) + after if after else None
                await client.signal_entity(entity, req.params["op"], given, signal_time=when)
            case "entity":
                read = await client.read_entity_state(df.EntityId(req.params["entity"], instance_id))
                return answer({"exists": read.entity_exists, "state": read.entity_state})
            case "status":
                status = await client.get_status(instance_id)
                return answer(status.to_json() if status else None)
            case _:
                return answer(f"unknown verb {verb}", 400)
    except Exception as error:  # noqa: BLE001 (which exception it is, is the answer)
        code = getattr(error, "code", None)
        return answer({"raised": type(error).__name__, "code": str(code()) if callable(code) else None}, 409)
    return answer(None, 202)


@app.route(route="wait/{id}", methods=["POST"])
@app.durable_client_input(client_name="client")
async def wait(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    limit = int(req.params["milliseconds"])
    return await client.wait_for_completion_or_create_check_status_response(
        req, req.route_params["id"], timeout_in_milliseconds=limit, retry_interval_in_milliseconds=100
    )


# ---- routes of each level and kind


@app.route(route="open/{name}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def open_route(req: func.HttpRequest) -> func.HttpResponse:
    return answer({"name": req.route_params["name"], "query": dict(req.params), "headers": dict(req.headers)})


@app.route(route="admin-only", methods=["GET"], auth_level=func.AuthLevel.ADMIN)
async def admin_route(req: func.HttpRequest) -> func.HttpResponse:
    return answer("admin")


@app.route(route="echo", methods=["POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.get_body(), status_code=201, headers={"X-Length": str(len(req.get_body()))})


@app.route(route="sync", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def sync_route(req: func.HttpRequest) -> func.HttpResponse:
    return answer("sync")


@app.route(route="cookies", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def cookies(req: func.HttpRequest) -> func.HttpResponse:
    response = answer("cookies")
    response.headers.add("Set-Cookie", "a=1; Path=/; HttpOnly; SameSite=Strict")
    response.headers.add("Set-Cookie", "b=2; Secure; Max-Age=60")
    return response


@app.route(route="broken", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def broken(req: func.HttpRequest) -> func.HttpResponse:
    raise ValueError("the canary of a broken function")


@app.route(route="number/{n:int}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def number(req: func.HttpRequest) -> func.HttpResponse:
    return answer(int(req.route_params["n"]))


@app.route(route="files/{*path}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def files(req: func.HttpRequest) -> func.HttpResponse:
    return answer(req.route_params.get("path"))


# ---- orchestrators


@app.orchestration_trigger(context_name="context")
def hello(context: df.DurableOrchestrationContext):
    """Two activities in a row, an async and a sync one, with custom status."""
    name = context.get_input()
    context.set_custom_status({"stage": "greeting"})
    first = yield context.call_activity("greet", name)
    second = yield context.call_activity("greet_sync", name)
    return [first, second]


@app.orchestration_trigger(context_name="context")
def fan_out(context: df.DurableOrchestrationContext):
    results = yield context.task_all([context.call_activity("square", n) for n in range(context.get_input())])
    return sum(results)


@app.orchestration_trigger(context_name="context")
def wait_for(context: df.DurableOrchestrationContext):
    """Waits for as many events named `go` as the input says and returns their data, in order."""
    got = []
    for n in range(context.get_input()):
        context.set_custom_status(f"waiting {n}")
        data = yield context.wait_for_external_event("go")
        got.append(event_data(data))
    return got


@app.orchestration_trigger(context_name="context")
def deadline(context: df.DurableOrchestrationContext):
    """An event against a timer."""
    event = context.wait_for_external_event("go")
    timer = context.create_timer(context.current_utc_datetime + timedelta(seconds=context.get_input()))
    context.set_custom_status("waiting")
    winner = yield context.task_any([event, timer])
    if winner == event:
        timer.cancel()
        return "event"
    return "timer"


@app.orchestration_trigger(context_name="context")
def failing(context: df.DurableOrchestrationContext):
    """An activity that always fails, caught or not."""
    given = context.get_input()
    try:
        yield context.call_activity("fail", given["message"])
    except Exception:
        if given["catch"]:
            return "caught"
        raise
    return "no failure"


@app.orchestration_trigger(context_name="context")
def retrying(context: df.DurableOrchestrationContext):
    """An activity that fails until its third attempt, then the number of attempts."""
    given = context.get_input()
    options = df.RetryOptions(first_retry_interval_in_milliseconds=200, max_number_of_attempts=given["attempts"])
    yield context.call_activity_with_retry("flaky", options, {"key": context.instance_id, "until": 3})
    return "done"


@app.orchestration_trigger(context_name="context")
def parent(context: df.DurableOrchestrationContext):
    given = context.get_input()
    try:
        result = yield context.call_sub_orchestrator(given["child"], given["input"], f"{context.instance_id}-child")
    except Exception:  # noqa: BLE001 (any failure of the child is what is told)
        return "child failed"
    return {"child": result}


@app.orchestration_trigger(context_name="context")
def generations(context: df.DurableOrchestrationContext):
    """Counts down by continue_as_new; each generation runs one activity whose task id is the same."""
    given = context.get_input()
    value = yield context.call_activity("square", given["left"])
    total = given["total"] + value
    if given["left"] == 0:
        return total
    context.continue_as_new({"left": given["left"] - 1, "total": total})
    return None


@app.orchestration_trigger(context_name="context")
def counting(context: df.DurableOrchestrationContext):
    """Calls an entity and reads it back."""
    entity = df.EntityId("Counter", context.get_input())
    yield context.call_entity(entity, "add", 2)
    yield context.call_entity(entity, "add", 3)
    return (yield context.call_entity(entity, "get"))


@app.orchestration_trigger(context_name="context")
def steps(context: df.DurableOrchestrationContext):
    """Every kind of step in a row, each behind an event, so that a host can be killed between any two."""
    done = []
    yield context.wait_for_external_event("next")
    done.append((yield context.call_activity("square", 3)))
    context.set_custom_status(len(done))
    yield context.wait_for_external_event("next")
    yield context.create_timer(context.current_utc_datetime + timedelta(seconds=1))
    done.append("timer")
    context.set_custom_status(len(done))
    yield context.wait_for_external_event("next")
    done.append((yield context.call_sub_orchestrator("wait_for", 1, f"{context.instance_id}-child")))
    context.set_custom_status(len(done))
    yield context.wait_for_external_event("next")
    entity = df.EntityId("Counter", context.instance_id)
    done.append((yield context.call_entity(entity, "add", 5)))
    context.set_custom_status(len(done))
    yield context.wait_for_external_event("next")
    return done


@app.orchestration_trigger(context_name="context")
def journey(context: df.DurableOrchestrationContext):
    """Every kind of step without waiting for anybody, over two generations."""
    given = context.get_input()
    if given["left"] == 0:
        return given["total"]
    value = yield context.call_activity("square", given["left"] + 2)
    yield context.create_timer(context.current_utc_datetime + timedelta(milliseconds=50))
    child = yield context.call_sub_orchestrator("fan_out", 3, f"{context.instance_id}-child-{given['left']}")
    entity = df.EntityId("Counter", context.instance_id)
    counted = yield context.call_entity(entity, "add", 1)
    context.continue_as_new({"left": given["left"] - 1, "total": [*given["total"], value, child, counted]})
    return None


@app.orchestration_trigger(context_name="context")
def slow(context: df.DurableOrchestrationContext):
    return (yield context.call_activity("dawdle", context.get_input()))


# ---- activities, entity, timer


@app.activity_trigger(input_name="name")
async def greet(name: str) -> str:
    return f"hello {name}"


@app.activity_trigger(input_name="name")
def greet_sync(name: str) -> str:
    return f"good day {name}"


@app.activity_trigger(input_name="n")
async def square(n: int) -> int:
    return n * n


@app.activity_trigger(input_name="seconds")
async def dawdle(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "dawdled"


@app.activity_trigger(input_name="message")
async def fail(message: str) -> str:
    raise ValueError(message)


ATTEMPTS: dict[str, int] = {}


@app.activity_trigger(input_name="given")
async def flaky(given: dict) -> int:
    ATTEMPTS[given["key"]] = ATTEMPTS.get(given["key"], 0) + 1
    if ATTEMPTS[given["key"]] < given["until"]:
        raise RuntimeError("not yet")
    return ATTEMPTS[given["key"]]


@app.entity_trigger(context_name="context")
def Counter(context: df.DurableEntityContext):  # noqa: N802 (entities are named like classes)
    value = context.get_state(lambda: 0)
    match context.operation_name:
        case "add":
            value += context.get_input()
        case "reset":
            value = 0
        case _:
            pass
    context.set_state(value)
    context.set_result(value)


@app.timer_trigger(schedule="0 0 0 1 1 *", arg_name="timer", run_on_startup=False)
@app.durable_client_input(client_name="client")
async def yearly(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
    await client.signal_entity(df.EntityId("Counter", "yearly"), "add", 1)
