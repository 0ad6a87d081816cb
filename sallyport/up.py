"""`sallyport up`: control plane and edge on one machine, kept running."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from edge_agent.protocols.registry import PROTOCOLS
from edge_agent.settings import SettingsError, load
from sallyport.client import state_dir
from sallyport.output import BAD_USAGE, JsonFlag, emit, fail
from sallyport.stack import Stack

NAME = "up"
CONTROL_PORT = 7071
DEMO_LISTENERS = {"postgres": "127.0.0.1:6432", "http": "127.0.0.1:8080"}
DEMO_HOLD = 300


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
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything that was started is stopped
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyboardInterrupt):
        if config is None:
            sallyport, bound = _shop(stack, port)
        else:
            sallyport = stack.enter_context(Stack(state_dir(), control_port=port))
            bound = _guard(sallyport, config, policy, agent or [], approver or [])
        _announce(sallyport, bound, as_json)
        _until_interrupted(sallyport)


class Guarded(msgspec.Struct, frozen=True):
    """What came up: addresses by listener, and who and what was registered; resources with their protocols."""

    listeners: dict[str, str]
    resources: dict[str, str]
    agents: list[str]
    people: list[str]


def _shop(stack: contextlib.ExitStack, port: int) -> tuple[Stack, Guarded]:
    """The demo's shop with a database and a service of its own. Imported here: only it needs the extra `demo`."""
    from sallyport import demo

    postgres, service = stack.enter_context(demo.running_postgres()), stack.enter_context(demo.running_http())
    shop = demo.shop(state_dir(), postgres, service, control_port=port, listen=DEMO_LISTENERS, hold=DEMO_HOLD)
    found = stack.enter_context(shop)
    resources = {demo.DATABASE: "postgres", demo.SERVICE: "http"}
    return found.stack, Guarded(found.listeners, resources, [demo.AGENT], [demo.APPROVER])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise fail(f"{path} cannot be read: {error}", BAD_USAGE) from None


def _guard(sallyport: Stack, config: Path, policy: Path | None, agents: list[str], people: list[str]) -> Guarded:
    """Set the stack up for this configuration and start it."""
    try:
        settings = load(config, tuple(kind().name for kind in PROTOCOLS))
    except SettingsError as error:
        raise fail(str(error), BAD_USAGE) from None
    sallyport.start_control_plane()
    if policy is not None:
        sallyport.push_policy(_text(policy), f"activated by `sallyport up` from {policy.name}")
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
    guarded = {one.name: one.protocol for one in settings.resources}
    return Guarded(sallyport.start_edge(config), guarded, agents, people)


def _announce(sallyport: Stack, guarded: Guarded, as_json: bool) -> None:
    sallyport.keep_listeners(guarded.listeners)
    kept = {name: f"agent-{name}" for name in guarded.agents} | {name: name for name in guarded.people}
    keys = {name: str(sallyport.keys / file) for name, file in kept.items()}
    document: dict[str, Any] = {
        "control_plane": sallyport.url,
        "reviews": f"{sallyport.url}/reviews",
        "listeners": guarded.listeners,
        "keys": keys,
    }
    lines = ["ready", f"  control plane  {sallyport.url}", f"  reviews        {sallyport.url}/reviews"]
    lines += [f"  {name:<14} {address}" for name, address in guarded.listeners.items()]
    lines += [f"  key of {name}: {path}" for name, path in keys.items()]
    lines += [
        f"  to connect: sallyport connect {resource} --protocol {protocol} --agent {name}"
        for name in guarded.agents
        for resource, protocol in _first_of_each(guarded.resources)
    ]
    emit(document, as_json=as_json, text=lines)


def _first_of_each(resources: dict[str, str]) -> Iterator[tuple[str, str]]:
    """One resource of each protocol."""
    told: set[str] = set()
    for name, protocol in resources.items():
        if protocol not in told:
            yield name, protocol
        told.add(protocol)


def _until_interrupted(sallyport: Stack) -> None:
    """Wait for SIGINT or SIGTERM (KeyboardInterrupt), or for a part to end by itself."""
    never = threading.Event()
    while not never.wait(1.0):
        for part in (sallyport.control, sallyport.edge):
            if part is not None and part.process.poll() is not None:
                raise fail(f"the {part.name} ended with code {part.process.returncode}; see {sallyport.logs}")
