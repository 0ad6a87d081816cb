"""Policy versions: pushed, listed, activated. What does not load, or fails its own tests, never comes in; the active one stays."""

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app.access import Call, endpoint, reply
from function_app.logs import event, logger
from function_app.policies import accepted
from function_app.stores.base import PolicyRow, StoreError

LARGEST_POLICY = 1024 * 1024
"""Bytes of one policy document."""

_log = logger("policies")
blueprint = df.Blueprint()


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new version. A draft is stored but not activated. `name` is the file name that errors shall mention."""

    text: str
    comment: str = ""
    draft: bool = False
    name: str = "policy.yaml"


@endpoint(blueprint, "push_policy")
async def push_policy(call: Call) -> func.HttpResponse:
    """Check, store and (unless a draft) activate a version."""
    push = call.json(Push, largest=2 * LARGEST_POLICY)
    policy = accepted(push.text, push.name)
    row = PolicyRow(
        0, policy.digest, push.text, call.principal.name, push.comment, call.services.now(), active=not push.draft
    )
    stored = await call.services.store.registry.add_policy(row)
    event(_log, "policy_pushed", version=stored.version, digest=stored.digest, active=stored.active, by=stored.author)
    return reply(_summary(stored), 201)


@endpoint(blueprint, "list_policies")
async def list_policies(call: Call) -> func.HttpResponse:
    return reply({"policies": [_summary(row) for row in await call.services.store.registry.policies()]})


@endpoint(blueprint, "active_policy")
async def active_policy(call: Call) -> func.HttpResponse:
    """The version that holds, with its text; version 0 denies everything until one is pushed."""
    row, _ = await call.services.policies.active()
    return reply(row)


@endpoint(blueprint, "show_policy")
async def show_policy(call: Call) -> func.HttpResponse:
    return reply(await _version(call))


@endpoint(blueprint, "activate_policy")
async def activate_policy(call: Call) -> func.HttpResponse:
    """Make a stored version the active one; it must still load under this release."""
    row = await _version(call)
    accepted(row.text, f"version {row.version}")
    await call.services.store.registry.activate(row.version)
    event(_log, "policy_activated", version=row.version, digest=row.digest, by=call.principal.name)
    return reply(_summary(msgspec.structs.replace(row, active=True)))


async def _version(call: Call) -> PolicyRow:
    version = int(call.path("version"))
    row = await call.services.store.registry.policy(version) if 0 < version < 2**31 else None
    if row is None:
        raise StoreError("not-found", 404, f"There is no policy version {version}.")
    return row


def _summary(row: PolicyRow) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(row).items() if name != "text"}
