"""A worker around a toy room in a process of its own, forked from a server that has everything imported: a start costs 20 ms.

For tests that kill it. What a supervisor would say is not said here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING, cast

import uvloop

from edge_agent import failpoints, logs
from edge_agent.hub import Line, Ready
from edge_agent.settings import load
from edge_agent.worker import Worker
from tests.support.toy_room import ToyRoom

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def start(config: Path, port: int, environment: dict[str, str]) -> tuple[ForkServerProcess, Connection[str, str]]:
    """Start a worker on `port`; the connection receives "ready", and ends with the process."""
    ours, theirs = cast("tuple[Connection[str, str], Connection[str, str]]", _context.Pipe())
    process = _context.Process(target=_run, args=(config, port, environment, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _run(config: Path, port: int, environment: dict[str, str], told: Connection[str, str]) -> None:
    os.environ.update(environment)
    failpoints.arm(environment.get(failpoints.VARIABLE, ""))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logs.configure("info", worker=0)
    uvloop.run(_serve(config, port, told))


async def _serve(config: Path, port: int, told: Connection[str, str]) -> None:
    ours, theirs = socket.socketpair()
    line, other = await Line.over(theirs), await Line.over(ours)
    worker = Worker(load(config, ("postgres",)), 0, line, (ToyRoom(),))
    listening = asyncio.create_task(
        other.listen(lambda message: told.send("ready") if isinstance(message, Ready) else None)
    )
    await worker.run({"postgres": ("127.0.0.1", port)})
    listening.cancel()
