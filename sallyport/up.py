"""`sallyport up`: control plane and edge on one machine, kept running."""

import contextlib
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_agent.protocols.registry import PROTOCOLS
from edge_agent.settings import load
from sallyport.client import state_dir
from sallyport.demo import AGENT, APPROVER, RESOURCE, shop
from sallyport.local_postgres import running_postgres
from sallyport.output import BAD_USAGE, JsonFlag, emit, fail
from sallyport.stack import Stack

NAME = "up"
CONTROL_PORT = 7071
DEMO_LISTENER = "127.0.0.1:6432"


def run(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="edge.yaml; without it, the demo's shop is guarded.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="The policy to activate.")] = None,
    agent: Annotated[list[str] | None, typer.Option(help="An agent to create; may be repeated.")] = None,
    approver: Annotated[list[str] | None, typer.Option(help="A person who may decide; may be repeated.")] = None,
    port: Annotated[int, typer.Option(help="Port of the control plane.")] = CONTROL_PORT,
    as_json: JsonFlag = False,
) -> None:
    """Run control plane and edge until interrupted; prints `ready` with every URL."""
    with contextlib.ExitStack() as stack:
        if config is None:
            postgres = stack.enter_context(running_postgres())
            sallyport, _, address = stack.enter_context(
                shop(state_dir(), postgres, control_port=port, listen=DEMO_LISTENER)
            )
            bound, agents, people = {"postgres": address}, [AGENT], [APPROVER]
        else:
            sallyport = stack.enter_context(Stack(state_dir(), control_port=port))
            bound = _guard(sallyport, config, policy, agent or [], approver or [])
            agents, people = agent or [], approver or []
        _announce(sallyport, bound, agents, people, as_json)
        _until_interrupted(sallyport)


def _guard(sallyport: Stack, config: Path, policy: Path | None, agents: list[str], people: list[str]) -> dict[str, str]:
    """Set the stack up for this configuration and start it."""
    settings = load(config, tuple(kind().name for kind in PROTOCOLS))
    sallyport.start_control_plane()
    if policy is not None:
        sallyport.push_policy(policy.read_text(), f"activated by `sallyport up` from {policy.name}")
    for person in people:
        sallyport.add_person(person)
    for name in agents:
        sallyport.add_agent(name)
    resources = [{"name": one.name, "protocol": one.protocol, "labels": dict(one.labels)} for one in settings.resources]
    sallyport.register_edge(resources)
    if settings.control_plane.rstrip("/") != sallyport.url:
        raise fail(
            f"{config}: control_plane.url is {settings.control_plane}, but this machine's is {sallyport.url}",
            BAD_USAGE,
        )
    return sallyport.start_edge(config)


def _announce(sallyport: Stack, bound: dict[str, str], agents: list[str], people: list[str], as_json: bool) -> None:
    sallyport.keep_listeners(bound)
    keys = {name: str(sallyport.keys / f"agent-{name}") for name in agents} | {
        name: str(sallyport.keys / name) for name in people
    }
    document: dict[str, Any] = {
        "control_plane": sallyport.url,
        "reviews": f"{sallyport.url}/reviews",
        "listeners": bound,
        "keys": keys,
    }
    lines = ["ready", f"  control plane  {sallyport.url}", f"  reviews        {sallyport.url}/reviews"]
    lines += [f"  {name:<14} {address}" for name, address in bound.items()]
    lines += [f"  key of {name}: {path}" for name, path in keys.items()]
    if "postgres" in bound and agents:
        host, _, at = bound["postgres"].rpartition(":")
        lines.append(
            f'  try            PGPASSWORD="$(cat {keys[agents[0]]})" psql "host={host} port={at} user={agents[0]} dbname={RESOURCE}"'
        )
    emit(document, as_json=as_json, text=lines)


def _until_interrupted(sallyport: Stack) -> None:
    """Wait for SIGINT or SIGTERM, or for a part to end by itself."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    while not stopped.wait(1.0):
        for part in (sallyport.control, sallyport.edge):
            if part is not None and part.process.poll() is not None:
                raise fail(f"the {part.name} ended with code {part.process.returncode}; see {sallyport.logs}")
