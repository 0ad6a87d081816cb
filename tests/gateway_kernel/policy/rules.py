"""Small policies and operations for the tests of this room."""

from textwrap import dedent, indent

import msgspec

from gateway_kernel.model import (
    Agent,
    Effect,
    EffectKind,
    Facts,
    Family,
    HttpFacts,
    Json,
    Operation,
    Parameter,
    Resource,
    Session,
    SqlFacts,
)
from gateway_kernel.policy import Policy, load

NOON = 1_767_268_800_000_000  # 2026-01-01T12:00:00Z, a Thursday
GROUPS = "groups: {dba: [Ann@example.com, bob@example.com], sec: [bob@example.com, cy@example.com]}"


def policy(*rules: str, default: str = "default: deny", groups: str = GROUPS) -> Policy:
    """A policy of these rules, each the YAML of one mapping without its dash."""
    return load(document(*rules, default=default, groups=groups))


def document(*rules: str, default: str = "default: deny", groups: str = GROUPS) -> str:
    """The text of such a policy."""
    listed = "\n".join("- " + indent(dedent(rule).strip(), "  ").lstrip() for rule in rules)
    return f"version: 1\n{default}\n{groups}\nrules:\n{listed}\n"


def rule(name: str, when: str, then: str, **sections: str) -> str:
    """One rule; `sections` are flow-style YAML."""
    lines = [f"id: {name}", f"when: '{when}'", f"then: {then}"]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in sections.items())])


def operation(
    *kinds: str,
    family: Family | None = None,
    verb: str = "SELECT",
    text: str = "SELECT 1",
    parameters: tuple[Parameter, ...] = (),
    protocol: str = "postgres",
    size: int = 0,
) -> Operation:
    """An operation that has been read, with effects of these kinds."""
    effects = tuple(Effect(EffectKind(kind), "public.orders") for kind in kinds or ("read",))
    facts = Facts(verb, effects, SqlFacts() if family is None else family)
    return Operation("op", protocol, text, parameters, size=size, facts=facts)


def request(body: bytes = b"", **fields: object) -> Operation:
    """An HTTP operation that reads."""
    family = HttpFacts(**fields)  # pyright: ignore[reportArgumentType]
    made = operation("read", family=family, verb="GET", text="POST /\nHost: api\n", protocol="http")
    if not body:
        return made
    context: dict[str, Json] = {"body": "whole", "length": len(body)}
    return msgspec.structs.replace(made, parameters=(Parameter("", body),), context=context)


def session(
    *, labels: dict[str, str] | None = None, agent: str = "ci-bot", usage: dict[str, int] | None = None
) -> Session:
    """A session of `agent` at the database `orders-db`."""
    resource = Resource("orders-db", "postgres", labels or {})
    return Session("s1", Agent(agent, ("bots",)), resource, NOON, usage=usage or {})
