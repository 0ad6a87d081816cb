"""Indexes and runs the app's functions on Microsoft's worker library, `azure_functions_runtime`.

This is the same library that Azure's host loads into its Python worker process, so decorators, bindings, converters
and error texts are the real ones. The library keeps its state in module globals: one app per process, and a second
one is refused here. Nothing in this module knows HTTP routes or orchestrations.
"""

import asyncio
import importlib
import json
import logging
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import azure_functions_runtime.handle_event as library
from azure_functions_runtime.utils.threadpool import start_threadpool_executor, stop_threadpool_executor

from embedded_host import messages

LOG = logging.getLogger(__name__)
MARKER = "function_app.py"  # the worker indexes nothing, and reports success, where this file is missing


class AppError(Exception):
    """The app cannot be loaded; says which directory, why, and what to do."""


class FunctionFailed(Exception):  # noqa: N818 (the field's word for it)
    """A function raised. `kind` is the exception's type name, `text` its message, `stack` the traceback (logs only)."""

    def __init__(self, kind: str, text: str, stack: str = "") -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.stack = kind, text, stack

    def log(self, who: str) -> None:
        """Tell the operator; `stack` is the app's own traceback, not ours."""
        LOG.error("%s failed: %s\n%s", who, self, self.stack)


@dataclass(frozen=True, slots=True)
class Function:
    """One indexed function; `trigger` and `clients` are its raw bindings, as the app's decorators made them."""

    id: str
    name: str
    trigger: dict[str, Any]
    clients: tuple[dict[str, Any], ...]

    @property
    def kind(self) -> str:
        """The trigger's type: httpTrigger, timerTrigger, activityTrigger, orchestrationTrigger, entityTrigger."""
        return str(self.trigger["type"])

    def durable_name(self, key: str) -> str:
        """The name under which orchestrations know it: the binding's own `key`, else the function's name."""
        return str(self.trigger.get(key) or self.name).lower()


class Worker:
    """The worker library with one app in it."""

    _loaded: ClassVar[Path | None] = None

    def __init__(self, app_dir: Path, time_limit: float) -> None:
        """`app_dir` holds host.json and function_app.py; `time_limit` is host.json's functionTimeout in seconds."""
        self.app_dir = app_dir
        self.functions: dict[str, Function] = {}
        self._time_limit = time_limit

    async def load(self) -> None:
        """Index the app. Raises AppError where there is nothing to serve: an empty index is never a success here."""
        self._claim_process()
        start_threadpool_executor()  # without it every sync function runs on the loop's default threads
        sys.path.insert(0, str(self.app_dir))
        importlib.invalidate_caches()
        init = messages.Answer(capabilities={}, function_app_directory=str(self.app_dir), host_version="4")
        answer = await library.worker_init_request(messages.envelope(worker_init_request=init))
        if answer.result.status != messages.StatusResult.Success:
            raise AppError(f"{self.app_dir}: the app failed to load: {answer.result.exception.message}")
        asked = messages.Answer(function_app_directory=str(self.app_dir))
        answer = await library.functions_metadata_request(messages.envelope(functions_metadata_request=asked))
        for listed in answer.function_metadata_results or ():
            self.functions[listed.name] = _function(listed)
        if not self.functions:
            raise AppError(f"{self.app_dir}: no function was found; is the app object in {MARKER} or function_app/?")

    def _claim_process(self) -> None:
        if not (self.app_dir / MARKER).is_file():
            raise AppError(f"{self.app_dir}: {MARKER} is missing; the worker looks for it even beside a package")
        if Worker._loaded is not None:
            raise AppError(f"this process already serves {Worker._loaded}; start another process for {self.app_dir}")
        imported = sys.modules.get("function_app")
        where = getattr(imported, "__file__", None)
        if where is not None and not Path(where).resolve().is_relative_to(self.app_dir):
            raise AppError(f"function_app is already imported from {where}; start a fresh process for {self.app_dir}")
        Worker._loaded = self.app_dir

    async def invoke(self, function: Function, trigger: messages.TypedData, client: str) -> messages.TypedData:
        """Run `function`; `client` is the durable client binding's JSON. Raises FunctionFailed, never the app's own."""
        inputs = [messages.ParameterBinding(str(function.trigger["name"]), trigger)]
        inputs += [
            messages.ParameterBinding(str(b["name"]), messages.TypedData(string=client)) for b in function.clients
        ]
        request = messages.InvocationRequest(str(uuid.uuid4()), function.id, inputs)
        call = library.invocation_request(messages.envelope(invocation_request=request))
        try:
            answer = await asyncio.wait_for(call, self._time_limit)
        except TimeoutError as late:
            raise FunctionFailed(
                "FunctionTimeoutException", f"{function.name} ran longer than functionTimeout"
            ) from late
        if answer.result.status != messages.StatusResult.Success:
            raised = answer.result.exception
            kind, colon, text = raised.message.partition(": ")
            raise FunctionFailed(kind if colon else "Exception", text if colon else raised.message, raised.stack_trace)
        return answer.return_value or messages.TypedData()

    def close(self) -> None:
        """End the library's threads; sync functions still running are waited for."""
        stop_threadpool_executor()


def _function(listed: messages.Answer) -> Function:
    bindings = [cast("dict[str, Any]", json.loads(raw)) for raw in listed.raw_bindings]
    trigger = next(b for b in bindings if str(b["type"]).lower().endswith("trigger"))
    clients = tuple(b for b in bindings if b["type"] == "durableClient")
    return Function(listed.function_id, listed.name, trigger, clients)
