"""`sallyport edge`: the edge agent alone, beside the resources."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sallyport.output import JsonFlag

NAME = "edge"


def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The edge's configuration, edge.yaml.")] = Path(
        "edge.yaml"
    ),
    check: Annotated[bool, typer.Option("--check", help="Only check the configuration.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the edge agent in the foreground. SALLYPORT_EDGE_KEY holds its key to the control plane."""
    command = [sys.executable, "-m", "edge_agent", "--config", str(config)]
    command += ["--check"] * check + ["--json"] * as_json
    os.execv(sys.executable, command)  # noqa: S606  the edge replaces this process: signals reach it directly
