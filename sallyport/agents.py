"""`sallyport agent`: the non-human principals that may connect, and their keys."""

from collections.abc import Mapping
from typing import Annotated

import typer

from sallyport.client import connect, part
from sallyport.output import JsonFlag, emit, fields, table, when

NAME = "agent"
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Name of the agent: what it gives as its user name.")],
    group: Annotated[list[str] | None, typer.Option(help="A group it is in; may be repeated.")] = None,
    owner: Annotated[list[str] | None, typer.Option(help="A person who owns it and so never approves for it.")] = None,
    days: Annotated[int, typer.Option(help="Days until the key expires.", min=1, max=730)] = 90,
    as_json: JsonFlag = False,
) -> None:
    """Create an agent with its first key. The key is shown once."""
    body = {"name": name, "groups": group or [], "owners": owner or [], "expires_in": days * 86400}
    created = connect().post("/v1/agents", body)
    emit(
        created,
        as_json=as_json,
        text=[
            fields({"agent": name, "key": created["key"], "expires": when(created["expires"])}),
            "Keep the key now: it is not shown again.",
        ],
    )


@app.command("list")
def list_agents(as_json: JsonFlag = False) -> None:
    """Show all agents with their keys."""
    agents = connect().get("/v1/agents")["agents"]
    rows = (
        (agent["name"], ", ".join(agent["groups"]), ", ".join(agent["owners"]), key["id"], _standing(key))
        for agent in agents
        for key in agent["keys"] or [{"id": "-", "expires": 0, "revoked": False}]
    )
    emit(agents, as_json=as_json, text=[table(("AGENT", "GROUPS", "OWNERS", "KEY", "STANDING"), rows)])


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the agent.")],
    key: Annotated[str, typer.Option(help="Only this key (its id, see `agent list`).")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Revoke an agent with all its keys, or one key. Edges learn it within `revocation_max_age`, usually at once."""
    connect().delete(f"/v1/agents/{part(name)}/keys/{part(key)}" if key else f"/v1/agents/{part(name)}")
    emit({"agent": name, "key": key or None, "revoked": True}, as_json=as_json, text=[f"{key or name} is revoked."])


def _standing(key: Mapping[str, object]) -> str:
    if key["revoked"]:
        return "revoked"
    expires = key["expires"]
    return f"until {when(expires)}" if isinstance(expires, int) and expires else "does not expire"
