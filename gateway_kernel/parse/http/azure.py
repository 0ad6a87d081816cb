"""Azure's REST APIs: which service a request speaks to, the action in the style of Azure RBAC, and the resource it is about.

Azure compares these without case, so all three are in lower case: `microsoft.compute/virtualmachines/restart/action`. Where a GET
changes something or a POST runs something, that is an effect. Docs: learn.microsoft.com/azure/role-based-access-control/resource-provider-operations.
"""

from collections.abc import Mapping

import msgspec

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.http import pairs
from gateway_kernel.parse.http.text import Head


class Azure(msgspec.Struct, frozen=True):
    """`facts` for rules, {} for a host that is not Azure's; what the request does besides its method; `kind` in place of the method's."""

    facts: dict[str, str] = {}
    effects: tuple[Effect, ...] = ()
    problems: tuple[str, ...] = ()
    kind: EffectKind | None = None


ELSEWHERE = Azure()

MANAGERS = ("management.azure.com", "management.usgovcloudapi.net", "management.chinacloudapi.cn")
SUFFIXES = {
    ".blob.core.windows.net": "blob",
    ".dfs.core.windows.net": "dfs",
    ".queue.core.windows.net": "queue",
    ".table.core.windows.net": "table",
    ".file.core.windows.net": "file",
    ".vault.azure.net": "vault",
    ".managedhsm.azure.net": "vault",
    ".documents.azure.com": "cosmos",
    ".servicebus.windows.net": "servicebus",
    ".search.windows.net": "search",
    ".openai.azure.com": "openai",
    ".azconfig.io": "appconfig",
    ".azurecr.io": "registry",
}
_VERBS = {"GET": "read", "HEAD": "read", "OPTIONS": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
_STORAGE = "microsoft.storage/storageaccounts"


def of(head: Head) -> Azure:
    """What the request is at Azure. Where its query says two things, the stricter counts."""
    host = head.host.lower().partition(":")[0].rstrip(".")
    segments = tuple([segment.lower() for segment in head.segments])
    if host in MANAGERS:
        return _manager(head.method, segments)
    for suffix, service in SUFFIXES.items():
        if host.endswith(suffix):
            return _data(service, host.removesuffix(suffix), head.method, segments, _query(head.query))
    return ELSEWHERE


def _query(query: str) -> dict[str, frozenset[str]]:
    said: dict[str, set[str]] = {}
    for name, value in pairs.lenient(query):
        said.setdefault(name.lower(), set()).add(value.lower())
    return {name: frozenset(values) for name, values in said.items()}


def _facts(service: str, action: str, resource: str) -> dict[str, str]:
    return {"service": service, "action": action, "resource_id": resource}


def _manager(method: str, segments: tuple[str, ...]) -> Azure:
    """Azure Resource Manager: `/subscriptions/…/providers/namespace/type/name/type/name[/action]`."""
    if segments[-1:] in (("batch",), ("$batch",)):
        facts = _facts("arm", "microsoft.resources/batch/action", "/" + "/".join(segments))
        return Azure(
            facts, problems=("It is a batch of requests, of which each must be judged: send them one by one.",)
        )
    namespace, rest = _types(segments)
    resource = segments
    posts = method == "POST"
    action = ""
    if posts and rest:
        # A POST to a name runs nothing by itself; a further word is what it runs: .../virtualMachines/vm1/restart
        action = rest[-1] if len(rest) % 2 else ""
        rest, resource = (rest[:-1], segments[:-1]) if action else (rest, segments)
    types = "/".join([namespace, *rest[::2]])
    verb = "action" if posts else _VERBS.get(method, "unknown")
    whole = "/".join(part for part in (types, action, verb) if part)
    effects = (Effect(EffectKind.EXECUTE, whole),) if posts else ()
    return Azure(_facts("arm", whole, "/" + "/".join(resource)), effects)


def _types(segments: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The provider's namespace, and what follows it: types and names by turns."""
    if "providers" in segments:
        last = len(segments) - 1 - segments[::-1].index("providers")
        if last + 1 < len(segments):
            return segments[last + 1], segments[last + 2 :]
        return "microsoft.resources", ("providers",)
    return "microsoft.resources", segments


def _data(
    service: str, account: str, method: str, segments: tuple[str, ...], query: Mapping[str, frozenset[str]]
) -> Azure:
    resource = "/".join(["", account, *segments])
    verb = _VERBS.get(method, "action")
    match service:
        case "blob" | "dfs" | "file":
            return _files(service, resource, verb, segments, query)
        case "queue":
            return _queue(resource, method, verb, segments, query)
        case "table":
            return _table(resource, method, verb, segments)
        case "vault":
            return _vault(resource, method, verb, segments)
        case _:
            return Azure(_facts(service, verb, resource))


def _files(
    service: str, resource: str, verb: str, segments: tuple[str, ...], query: Mapping[str, frozenset[str]]
) -> Azure:
    comp = query.get("comp", frozenset())
    if "batch" in comp:
        problem = "It is a batch of requests, of which each must be judged: send them one by one."
        return Azure(_facts(service, f"{_STORAGE}/blobservices/batch/action", resource), problems=(problem,))
    family = "fileservices/fileshares/files" if service == "file" else "blobservices/containers/blobs"
    inside = len(segments) > 1 or (comp == frozenset({"list"}) and bool(segments))
    kind = f"{family}/{verb}" if inside else f"{family.rpartition('/')[0]}/{verb}"
    effect = EffectKind.READ if comp == frozenset({"query"}) and verb == "action" else None  # SELECT over one blob
    return Azure(_facts(service, f"{_STORAGE}/{kind}", resource), kind=effect)


def _queue(
    resource: str, method: str, verb: str, segments: tuple[str, ...], query: Mapping[str, frozenset[str]]
) -> Azure:
    if segments[1:2] != ("messages",):
        return Azure(_facts("queue", f"{_STORAGE}/queueservices/queues/{verb}", resource))
    takes = method == "GET" and query.get("peekonly") != frozenset({"true"})
    word = "process/action" if takes else "add/action" if method == "POST" else verb
    effects = (Effect(EffectKind.WRITE, resource, "get messages hides them"),) if takes else ()
    return Azure(_facts("queue", f"{_STORAGE}/queueservices/queues/messages/{word}", resource), effects)


def _table(resource: str, method: str, verb: str, segments: tuple[str, ...]) -> Azure:
    entities = bool(segments) and not segments[0].startswith("tables")
    kind = "tables/entities" if entities else "tables"
    merges = method == "MERGE"
    word = "write" if merges else "add/action" if method == "POST" else verb
    facts = _facts("table", f"{_STORAGE}/tableservices/{kind}/{word}", resource)
    return Azure(facts, kind=EffectKind.WRITE if merges else None)


_SECRETS = {"GET": "getsecret/action", "PUT": "setsecret/action", "PATCH": "update/action"}


def _vault(resource: str, method: str, verb: str, segments: tuple[str, ...]) -> Azure:
    family, rest = (segments[0], segments[1:]) if segments else ("", ())
    word = verb if verb != "action" else ""
    effects: tuple[Effect, ...] = ()
    if family == "secrets" and method in _SECRETS:
        word = _SECRETS[method] if rest else "readmetadata/action"
    elif method == "POST" and len(rest) > 1:
        word = f"{rest[-1]}/action"
        effects = (Effect(EffectKind.EXECUTE, f"{family}/{rest[-1]}"),)
    action = "/".join(part for part in ("microsoft.keyvault/vaults", family, word or "action") if part)
    return Azure(_facts("vault", action, resource), effects)
