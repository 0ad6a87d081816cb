"""`sallyport connect`: the lines with which an agent reaches a resource through the edge."""

from typing import Annotated

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
    if protocol != "postgres":
        raise fail(f"--protocol {protocol!r}: there are postgres", BAD_USAGE)
    url = f"postgresql://{agent}@{host}:{port}/{resource}"
    lines = {
        "psql": f'PGPASSWORD="$SALLYPORT_AGENT_KEY" psql "{url}"',
        "environment": f'export PGHOST={host} PGPORT={port} PGUSER={agent} PGDATABASE={resource} PGPASSWORD="$SALLYPORT_AGENT_KEY"',
        "url": url,
    }
    emit(lines, as_json=as_json, text=[lines["environment"], lines["psql"]])


def _started(protocol: str) -> str:
    path = state_dir() / "keys" / f"listener-{protocol}"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise fail(f"{path} is not there: run `sallyport up` first, or give --edge host:port", BAD_USAGE) from None
