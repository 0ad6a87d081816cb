"""`sallyport connect`: the lines with which an agent reaches a resource through the edge."""

import shlex
from typing import Annotated
from urllib.parse import quote

import typer

from sallyport.client import state_dir
from sallyport.output import BAD_USAGE, JsonFlag, emit, fail

NAME = "connect"


def run(
    resource: Annotated[str, typer.Argument(help="Name of the resource, as edge.yaml calls it.")],
    agent: Annotated[str, typer.Option(help="Name of the agent.")],
    edge: Annotated[
        str, typer.Option(help="Address of the edge's listener, host:port (default: what `sallyport up` started).")
    ] = "",
    protocol: Annotated[str, typer.Option(help="Protocol of the resource.")] = "postgres",
    as_json: JsonFlag = False,
) -> None:
    """Print the lines that connect an agent: paste them where it runs. The key itself is taken from SALLYPORT_AGENT_KEY."""
    address = edge or _started(protocol)
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise fail(f"--edge {address!r} is not host:port", BAD_USAGE)
    if protocol not in PROTOCOLS:
        raise fail(f"--protocol {protocol!r} is not known; known: {', '.join(PROTOCOLS)}", BAD_USAGE)
    lines = PROTOCOLS[protocol](host.strip("[]"), port, agent, resource)
    emit(lines, as_json=as_json, text=list(lines.values()))


def _postgres(host: str, port: str, agent: str, resource: str) -> dict[str, str]:
    """libpq's environment, the same as a URL, and psql."""
    named = f"[{host}]" if ":" in host else host
    url = f"postgresql://{quote(agent, safe='')}@{named}:{port}/{quote(resource, safe='')}"
    variables = {"PGHOST": host, "PGPORT": port, "PGUSER": agent, "PGDATABASE": resource}
    settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    return {
        "environment": f'export {settings} PGPASSWORD="$SALLYPORT_AGENT_KEY"',
        "psql": f'PGPASSWORD="$SALLYPORT_AGENT_KEY" psql {shlex.quote(url)}',
        "url": url,
    }


def _http(host: str, port: str, agent: str, resource: str) -> dict[str, str]:
    """A base URL and a key, as API clients ask for them, and curl. The key says who the agent is. Off loopback the edge takes keys under TLS only."""
    named = f"[{host}]" if ":" in host else host
    scheme = "http" if host in ("localhost", "::1") or host.startswith("127.") else "https"
    url = f"{scheme}://{named}:{port}/{quote(resource, safe='')}"
    return {
        "environment": f'export API_BASE_URL={shlex.quote(url)} API_KEY="$SALLYPORT_AGENT_KEY"',
        "curl": f'curl -H "Authorization: Bearer $SALLYPORT_AGENT_KEY" {shlex.quote(f"{url}/")}',
        "url": url,
    }


PROTOCOLS = {"postgres": _postgres, "http": _http}
"""How a client of each protocol is told where to go. One line a protocol."""


def _started(protocol: str) -> str:
    path = state_dir() / "keys" / f"listener-{protocol}"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise fail(f"{path} is not there: run `sallyport up` first, or give --edge host:port", BAD_USAGE) from None
