"""The process of one worker: its arguments, limits and signals. Started by `supervisor`, one for each of `workers`.

What a worker does is in `worker`; this module only brings it up with the rooms of the registry.
"""

import argparse
import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from edge_agent import logs
from edge_agent.bundle import BundleError
from edge_agent.hub import Line
from edge_agent.protocols.registry import PROTOCOLS
from edge_agent.segments import SpoolDamagedError
from edge_agent.settings import SettingsError, load
from edge_agent.worker import Worker

log = logs.Log(__name__)

EXIT_SETTINGS = 78  # EX_CONFIG of sysexits.h: starting again will not help
COLLECT = (20_000, 20, 20)
"""Thresholds of the cycle collector. Operations make few cycles; the default of 2,000 runs it every twenty of them."""


def allow_many_files() -> None:
    """Each connection takes two descriptors: raise the soft limit to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _main(options: argparse.Namespace) -> int:
    rooms = tuple(kind() for kind in PROTOCOLS)
    settings = load(Path(options.config), tuple(room.name for room in rooms))
    logs.configure(settings.log_level, worker=options.number)
    line = await Line.over(socket.socket(fileno=options.hub))
    try:
        worker = Worker(settings, options.number, line, rooms)
    except (SettingsError, BundleError, SpoolDamagedError, OSError) as error:
        log.fault("this worker cannot start", reason=str(error))
        return EXIT_SETTINGS
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.stop)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C goes to the whole group; the supervisor drains
    await worker.run(msgspec.json.decode(options.listen, type=dict[str, tuple[str, int]]))
    line.close()
    return 0


def main(arguments: list[str]) -> int:
    """Run one worker; the arguments are the supervisor's."""
    parser = argparse.ArgumentParser(prog="edge_agent.process")
    parser.add_argument("--config", required=True)
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--hub", type=int, required=True)
    parser.add_argument("--listen", required=True)
    allow_many_files()
    gc.freeze()  # modules and compiled rules never become garbage: looking through them again took a tenth of the CPU
    gc.set_threshold(*COLLECT)
    return uvloop.run(_main(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
