"""JSON-RPC requests (jsonrpc.org 2.0, and what speaks it such as MCP): the methods that a body calls, batches whole.

A method runs code, so it is `execute`, unless the route's effects name it: `[read, getBalance]`.
"""

from collections.abc import Mapping

from gateway_kernel.model import Effect, EffectKind, Json
from gateway_kernel.parse.http import pairs
from gateway_kernel.parse.http.body import Body
from gateway_kernel.parse.http.text import Head


def effects(
    head: Head, body: Body, named: Mapping[str, EffectKind]
) -> tuple[tuple[Effect, ...], tuple[str, ...]] | None:
    """One effect for each call: its object is the method, `via` the name in its parameters if it has one (a tool). None without a call."""
    asked = [value for name, value in pairs.lenient(head.query) if name == "method"]
    found = [Effect(named.get(method, EffectKind.EXECUTE), method, "query") for method in asked]
    if head.method in ("GET", "HEAD", "OPTIONS", "DELETE") and not (found or body.text or body.why):
        return None
    if body.why:
        return (), (body.why,)
    calls = body.value if isinstance(body.value, list) else [body.value]
    if not calls:
        return (), ("The JSON-RPC batch is empty.",)
    for call in calls:
        effect = _effect(call, named)
        if effect is None:
            return (), ("The body is no JSON-RPC call: `method` must be there and be text.",)
        found.append(effect)
    return tuple(dict.fromkeys(found)), ()


def _effect(call: Json, named: Mapping[str, EffectKind]) -> Effect | None:
    if not isinstance(call, dict):
        return None
    method, parameters = call.get("method"), call.get("params")
    if method is None and "id" in call and ("result" in call) != ("error" in call):
        return Effect(EffectKind.WRITE, "", "json-rpc answer")  # to a call that the server made
    if not isinstance(method, str) or not method:
        return None
    tool = parameters.get("name") if isinstance(parameters, dict) else None
    return Effect(named.get(method, EffectKind.EXECUTE), method, tool if isinstance(tool, str) else "")
